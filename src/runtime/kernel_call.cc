#include "runtime/kernel_call.h"

#include "base/log.h"
#include "vivace/error.h"

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

KernelCall packing_call(const Plan& plan, const KernelEntry& entry, const PlanStep& step) {
  KernelCall result = kernel_call(plan, plan.program(step.consumer_phase)[static_cast<size_t>(step.consumer)]);
  const PlanValue& source = plan.values[static_cast<size_t>(step.in[0])];
  result.in[static_cast<size_t>(entry.packed_input)] = Operand{source.type.dtype, source.type.shape, 0, true};
  return result;
}

const KernelEntry& entry_of(const Device& device, const PlanStep& step) {
  const KernelEntry* entry = device.find(step.kernel);
  if (!entry) throw InternalError(cat("the plan asks for kernel ", step.kernel, ", which device ", device.target().name, " lacks"));
  return *entry;
}

}  // namespace vivace
