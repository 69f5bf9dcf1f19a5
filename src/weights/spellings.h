// How files of weights spell the names of a model: the programs that wrote them, known by the names alone.
#pragma once

#include <span>
#include <string_view>

#include "weights/name_rules.h"

namespace vivace {

struct Spelling {
  std::string_view prefix;  // of all names
  std::string_view probe;   // a file that has this name behind the prefix is spelled so
  std::span<const NameRule> rules;
  std::span<const CountedNumber> numbers = {};
  // What such files hold besides the model: whole names behind the prefix, or their beginnings where an entry ends in ".".
  std::span<const std::string_view> besides = {};
};

// In the order in which they are tried; empty for a class of models whose files are only those of Diffusers' folders.
std::span<const Spelling> spellings_of(std::string_view class_name);

}  // namespace vivace
