#include "base/background.h"

#include <latch>
#include <system_error>
#include <utility>
#include <vector>

namespace vivace {

std::thread run_in_background(std::function<void()> work) {
  try {
    return std::thread(work);
  } catch (const std::system_error&) {
    work();
    return {};
  }
}

int available_threads(int wanted) {
  std::vector<std::thread> threads;
  std::latch counted(1);
  try {
    while (static_cast<int>(threads.size()) + 1 < wanted) threads.emplace_back([&counted] { counted.wait(); });
  } catch (const std::system_error&) {
  }
  counted.count_down();
  for (std::thread& thread : threads) thread.join();
  return static_cast<int>(threads.size()) + 1;
}

}  // namespace vivace
