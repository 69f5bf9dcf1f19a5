// A Plan as bytes: what the cache and packages keep. Reading checks everything that a run relies on.
#pragma once

#include <span>
#include <string>

#include "runtime/device.h"
#include "runtime/plan.h"

namespace vivace {

// Format: "VIVACEPL", u32 version, u32 zero, u64 XXH3 of what follows; then the fields of plan.h in order (plan_fields.h). Integers are variable in
// length, texts are stored once and numbered, ops and kernels go by name.
inline constexpr uint32_t kPlanFileVersion = 7;

std::string serialize_plan(const Plan& plan);

// Throws UserError that begins with `name`: no plan, another version, damaged, or a plan that `device` cannot run here (a kernel that it lacks or
// that refuses, with the reason).
Plan parse_plan(std::span<const std::byte> bytes, const std::string& name, const Device& device);

// Throws UserError beginning with `name` unless every index is in range, every buffer lies inside the arena, views and slices lie in what they look
// at, every step's types are those of the op's shape rule, what a step reads has been made, packed weights are read by the kernels they are packed
// for, and `device` has every kernel and it takes the call. With it a plan from a file cannot read or write outside its buffers, resized or not.
void check_plan(const Plan& plan, const std::string& name, const Device& device);

}  // namespace vivace
