// The names that other programs give a model's weights, as tables: a row a rule, none a layer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

// Which of a tensor's rows a weight is: [begin, end) of so many equal parts of them.
struct RowPart {
  int begin = 0, end = 1, of = 1;
  bool operator==(const RowPart&) const = default;
};

enum class Change : uint8_t {
  none,
  transpose,    // the file holds [in, out]
  swap_halves,  // the file holds the second half of the rows first
  matrix,       // the file may hold a convolution of 1x1: [out, in, 1, 1]
};

// Names below a rule's `*`: "norm1" and all below it are "in_layers.0".
struct RestRule {
  std::string_view model, file;
};

// {b} stands for a number, which the file's name may reckon with: {3*b+l+1}; capitals are numbers of the whole file. `*`, at the end, is the rest.
struct NameRule {
  std::string_view model;               // "up_blocks.{b}.resnets.{l}.*"
  std::string_view file;                // "output_blocks.{L*b+l}.0.*"
  std::span<const RestRule> rest = {};  // what `*` becomes, where it begins so; nothing else then fits
  RowPart rows = {};
  Change change = Change::none;
};

struct FileName {
  std::string name;
  RowPart rows;
  Change change = Change::none;
};

using RuleNumbers = std::map<char, int64_t>;

// All names that the rules give a model's weight, in their order: files differ, and the first that is there is meant.
std::vector<FileName> file_names(std::span<const NameRule> rules, const RuleNumbers& numbers, std::string_view weight);

// A number of the whole file: of all names that fit `pattern` with a number n in {n}, the least n, or one more than the greatest.
struct CountedNumber {
  char letter;
  std::string_view pattern;  // "decoder.up.{n}.*"
  enum { least, count } which;
};
RuleNumbers count_numbers(std::span<const CountedNumber> numbers, std::span<const std::string_view> names);

}  // namespace vivace
