// The attributes that an op's row of the table allows, and what is wrong with a node's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ir/attrs.h"
#include "ir/op.h"

namespace vivace {

struct AttrRow {
  enum class Type : uint8_t { integer, real, integers, text, dtype, act };
  std::string_view name;
  Type type{};
  bool optional = false;   // may be absent
  bool by_passes = false;  // a model's graph never has it
};

std::span<const AttrRow> op_attrs(Op op);

// One line where an attribute is unknown to the op, missing, or of another type; with `of_model` also where it is for passes to set. Nothing where
// all fit.
std::optional<std::string> attrs_error(Op op, const Attrs& attrs, bool of_model = false);

}  // namespace vivace
