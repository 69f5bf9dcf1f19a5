#include "runtime/constant_id.h"

#include "base/log.h"
#include "runtime/kernel_call.h"

namespace vivace {
namespace {

// A call without its inputs: equal ones make equal bytes of equal inputs.
std::string call_text(const Plan& plan, const Device& device, const PlanStep& step) {
  if (step.copy) return "copy";
  if (step.pack) return packed_key(entry_of(device, step), packing_call(plan, entry_of(device, step), step), "");
  const TensorType& type = plan.values[static_cast<size_t>(step.out)].type;
  return cat(op_name(step.op), '(', print_attrs(step.attrs), ')', dtype_name(type.dtype), to_string(type.shape));
}

}  // namespace

std::vector<ConstantId> constant_ids(const Plan& plan, const Device& device, const WeightSource& weights) {
  std::vector<ConstantId> ids(plan.values.size());
  for (size_t v = 0; v < ids.size(); ++v) {
    const PlanValue& value = plan.values[v];
    if (value.where == PlanValue::Where::weight) ids[v] = weights.origin ? weights.origin(value.key) : hash128("weight " + value.key);
  }
  for (const PlanStep& step : plan.prepare) {
    std::string text = call_text(plan, device, step);
    for (int32_t in : step.in) text += cat(' ', in < 0 ? "_" : to_string(ids[static_cast<size_t>(in)]));
    ids[static_cast<size_t>(step.out)] = hash128(text);
  }
  return ids;
}

}  // namespace vivace
