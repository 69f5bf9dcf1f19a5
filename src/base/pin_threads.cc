#include <sched.h>

#include <vector>

#include "base/parallel.h"
#include "vivace/threads.h"

namespace vivace {

void pin_threads() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;  // more than 1024 cores: left as it is
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  parallel_threads([&](int thread, int) {
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cores[static_cast<size_t>(thread) % cores.size()], &own);
    (void)::sched_setaffinity(0, sizeof(own), &own);
  });
}

}  // namespace vivace
