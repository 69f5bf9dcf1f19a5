#include "runtime/constant_id.h"

#include "base/log.h"

namespace vivace {
namespace {

// The call of a prepare step without its inputs: equal ones make equal bytes of equal inputs.
std::string call_text(const Program& program, size_t prepare_step) {
  const PlanStep& step = program.plan->prepare[prepare_step];
  if (step.copy) return "copy";
  if (step.pack) return packed_key(*program.prepare[prepare_step]->packed, "");
  const TensorType& type = program.plan->values[static_cast<size_t>(step.out)].type;
  return cat(op_name(step.op), '(', print_attrs(step.attrs), ')', dtype_name(type.dtype), to_string(type.shape));
}

}  // namespace

std::vector<ConstantId> constant_ids(const Program& program, const WeightSource& weights) {
  const Plan& plan = *program.plan;
  std::vector<ConstantId> ids(plan.values.size());
  for (size_t v = 0; v < ids.size(); ++v) {
    const PlanValue& value = plan.values[v];
    if (value.where == PlanValue::Where::weight) ids[v] = weights.origin ? weights.origin(value.key) : hash128("weight " + value.key);
  }
  for (size_t i = 0; i < plan.prepare.size(); ++i) {
    const PlanStep& step = plan.prepare[i];
    std::string text = call_text(program, i);
    for (int32_t in : step.in) text += cat(' ', in < 0 ? "_" : to_string(ids[static_cast<size_t>(in)]));
    ids[static_cast<size_t>(step.out)] = hash128(text);
  }
  return ids;
}

}  // namespace vivace
