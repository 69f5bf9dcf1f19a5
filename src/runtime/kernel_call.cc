#include "runtime/kernel_call.h"

namespace vivace {

KernelCall kernel_call(const Plan& plan, const PlanStep& step) {
  const auto operand = [&](int32_t value) {
    const PlanValue& v = plan.values[static_cast<size_t>(value)];
    return Operand{v.type.dtype, v.type.shape, v.pitch, v.phase == Phase::prepare};
  };
  KernelCall call{.op = step.op, .attrs = &step.attrs, .in = {}, .out = operand(step.out), .tuning = step.tuning};
  for (int32_t in : step.in) call.in.push_back(in < 0 ? std::nullopt : std::optional(operand(in)));
  return call;
}

}  // namespace vivace
