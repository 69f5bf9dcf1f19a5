#include "ir/op.h"

#include <array>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {
constexpr std::array kRows = {
#define OP(id, text, min_inputs, max_inputs, traits, ...) OpRow{text, min_inputs, max_inputs, traits __VA_OPT__(, ) __VA_ARGS__},
#include "ir/op_list.inc"
#undef OP
};
}  // namespace

const OpRow& op_row(Op op) { return kRows[static_cast<size_t>(op)]; }
int op_count() { return static_cast<int>(kRows.size()); }

std::optional<Op> find_op(std::string_view name) {
  for (size_t i = 0; i < kRows.size(); ++i)
    if (kRows[i].name == name) return static_cast<Op>(i);
  return std::nullopt;
}

Elementwise elementwise(Op op) {
  switch (op) {
#define OP(...)
#define ELEMENTWISE(id, ...) \
  case Op::id:               \
    return Elementwise::id;
#include "ir/op_list.inc"
#undef OP
    default:
      throw InternalError(cat(op_name(op), " is not elementwise"));
  }
}

}  // namespace vivace
