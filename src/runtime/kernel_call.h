// The calls that the steps of a plan make of their kernels.
#pragma once

#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"

namespace vivace {

// Valid as long as `step` is: it points to the step's attributes.
KernelCall kernel_call(const Plan& plan, const PlanStep& step);
// Of a packing step: the call of the kernel that will read what it packs.
KernelCall packing_call(const Plan& plan, const KernelEntry& entry, const PlanStep& step);
// Throws InternalError where the device has no such kernel.
const KernelEntry& entry_of(const Device& device, const PlanStep& step);

}  // namespace vivace
