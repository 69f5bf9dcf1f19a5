// Where every activation lies: one arena, lifetimes known, views and in-place results in the buffer they share.
#pragma once

#include "runtime/kernel.h"
#include "runtime/plan.h"

namespace vivace {

// Sets offset, inside and pitch of the arena's values, arena_bytes, and adds unpacked constants to constant_bytes.
void plan_memory(Plan& plan, const Backend& backend);

}  // namespace vivace
