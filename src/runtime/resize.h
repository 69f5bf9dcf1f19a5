// Dynamic shapes: a plan's sizes are a function of its inputs' sizes, because it keeps the op, attributes and inputs of every value.
#pragma once

#include "runtime/device.h"
#include "runtime/plan.h"

namespace vivace {

// `to` becomes `plan` for other sizes: every type by the ops' shape rules, memory planned anew; kernels and prepared weights stay. No pass
// runs and no kernel is chosen. Sizes that are not given keep their value; names the plan does not have are ignored.
// A refusal is a guard that failed: symbols that are one but differ, a size that is a constant of this plan or no multiple of what it has to
// be, a shape rule that does not hold, a kernel that does not accept, a weight that would be packed otherwise. `to` is then unspecified.
Refusal resize(const Plan& plan, const Sizes& sizes, const Device& device, Plan& to);

// The sizes that a plan was made for, by name.
Sizes sizes_of(const Plan& plan);

}  // namespace vivace
