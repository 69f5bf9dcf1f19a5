// The ops a Graph is made of; the rows are in op_list.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

// A switch that names the ops has a case for each of them.
#pragma GCC diagnostic error "-Wswitch"

namespace vivace {

enum class Op : uint8_t {
#define OP(id, ...) id,
#include "ir/op_list.inc"
#undef OP
};

// The elementwise ops alone: a switch over them has no default, so that a new one does not compile until each place that computes it has a case for
// it.
enum class Elementwise : uint8_t {
#define OP(...)
#define ELEMENTWISE(id, ...) id,
#include "ir/op_list.inc"
#undef OP
};
// Of an op with that trait; InternalError for another.
Elementwise elementwise(Op op);

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
  std::string_view attrs;  // as in op_list.inc
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
