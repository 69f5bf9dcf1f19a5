#include "ir/op.h"

#include <array>

namespace vivace {
namespace {
constexpr std::array kRows = {
#define OP(id, text, min_inputs, max_inputs, traits) OpRow{text, min_inputs, max_inputs, traits},
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

}  // namespace vivace
