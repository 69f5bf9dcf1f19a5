// Where every activation lies: one arena, lifetimes known, views and in-place results in the buffer they share.
#pragma once

#include "runtime/device.h"
#include "runtime/plan.h"

namespace vivace {

// Sets offset of the arena's values, inside for results in place, and arena_bytes. May be called again when types have changed.
void plan_memory(Plan& plan, const Device& device);

}  // namespace vivace
