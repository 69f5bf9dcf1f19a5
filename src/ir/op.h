// The ops a Graph is made of; the rows are in op_list.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vivace {

enum class Op : uint8_t {
#define OP(id, text, min_inputs, max_inputs, traits) id,
#include "ir/op_list.inc"
#undef OP
};

enum OpTrait : uint8_t {
  kNone_ = 0,
  kSource = 1,       // no inputs; a value from outside
  kElementwise = 2,  // output element i depends on element i of the (broadcast) inputs alone
  kView = 4,         // the output is the input's memory under another shape
  kNamed = 8,        // has a decomposition into plain ops
};

struct OpRow {
  std::string_view name;
  int min_inputs, max_inputs;  // max_inputs < 0: any number
  uint8_t traits;
};

const OpRow& op_row(Op op);
std::optional<Op> find_op(std::string_view name);
int op_count();

inline std::string_view op_name(Op op) { return op_row(op).name; }
inline bool is_source(Op op) { return op_row(op).traits & kSource; }
inline bool is_elementwise(Op op) { return op_row(op).traits & kElementwise; }
inline bool is_view(Op op) { return op_row(op).traits & kView; }
inline bool is_named(Op op) { return op_row(op).traits & kNamed; }

}  // namespace vivace
