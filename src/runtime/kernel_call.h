// The calls that the steps of a plan make of their kernels.
#pragma once

#include "runtime/kernel.h"
#include "runtime/plan.h"

namespace vivace {

// Valid as long as `step` is: it points to the step's attributes.
KernelCall kernel_call(const Plan& plan, const PlanStep& step);

}  // namespace vivace
