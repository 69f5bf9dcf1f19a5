// Work beside the caller's.
#pragma once

#include <functional>
#include <thread>

namespace vivace {

// Runs `work`, which must not throw, on a thread of its own; where the system gives none (a limit on processes), here and now: the result is then not
// joinable.
std::thread run_in_background(std::function<void()> work);

// How many threads, the caller's among them, can run at once: `wanted`, or fewer where the system gives no more. OpenMP ends the process where it
// gets fewer than it asks for.
int available_threads(int wanted);

}  // namespace vivace
