// The one pool of threads: OpenMP's, because Debian's oneDNN runs on it too, so that nothing is oversubscribed.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "vivace/threads.h"

namespace vivace {

// body(begin, end) over a static partition of [0, n), each part at least `grain` long. Bodies must not throw.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  const int64_t parts = std::min<int64_t>(num_threads(), grain > 0 ? (n + grain - 1) / grain : n);
  if (parts <= 1 || omp_in_parallel()) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel num_threads(static_cast <int>(parts))
  {
    const int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    const int64_t begin = n * t / count, end = n * (t + 1) / count;
    if (begin < end) body(begin, end);
  }
}

// body(thread, threads), once on every thread of the pool.
template <class Body>
void parallel_threads(const Body& body) {
  if (num_threads() <= 1 || omp_in_parallel()) {
    body(0, 1);
    return;
  }
#pragma omp parallel num_threads(num_threads())
  body(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace vivace
