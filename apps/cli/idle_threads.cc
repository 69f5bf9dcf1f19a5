#include "idle_threads.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <initializer_list>

namespace vivace::cli {

void spin_briefly(char** argv) {
  // Some 10 microseconds: longer than the gap between two kernels, shorter than it hurts (measured: docs/PERFORMANCE.md).
  constexpr const char *kVariable = "GOMP_SPINCOUNT", *kTurns = "1000";
  for (const char* chosen : {"OMP_WAIT_POLICY", kVariable})
    if (std::getenv(chosen)) return;
  // The path and not /proc/self/exe itself, whose name the process would then have.
  char program[PATH_MAX];
  const ssize_t size = ::readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (size <= 0) return;
  program[size] = '\0';
  ::setenv(kVariable, kTurns, 0);
  ::execv(program, argv);
  // Where that fails, it runs as it is.
}

}  // namespace vivace::cli
