#include "base/parallel.h"

#include <atomic>

#include "base/background.h"
#include "base/log.h"
#include "base/pool.h"

namespace vivace {
namespace {

// `wanted`, or as many as can be started: where a limit (of the user's processes, of a container) lies below that, OpenMP would end the process.
int startable(int wanted) {
  const int given = available_threads(wanted);
  if (given < wanted)
    warn("only ", given, " of ", wanted, " threads can be started here (a limit on processes, as of ulimit -u): that many are used");
  return given;
}

int default_threads() {
  static const int n = startable(std::max(1, omp_get_max_threads()));
  return n;
}

std::atomic<int> g_threads{0};
thread_local int t_fixed_threads = 0;

}  // namespace

int num_threads() {
  if (t_fixed_threads > 0) return t_fixed_threads;
  const int chosen = g_threads.load(std::memory_order_relaxed);
  return chosen > 0 ? chosen : default_threads();
}

void set_num_threads(int n) {
  g_threads = n > default_threads() ? startable(n) : std::max(n, 0);
  omp_set_num_threads(num_threads());
}

FixedThreads::FixedThreads(int threads) : before_(t_fixed_threads), openmp_before_(omp_get_max_threads()) {
  t_fixed_threads = threads;
  omp_set_num_threads(threads);
}

FixedThreads::~FixedThreads() {
  t_fixed_threads = before_;
  omp_set_num_threads(openmp_before_);
}

Turns& pool_turns() {
  static Turns turns;
  return turns;
}

}  // namespace vivace
