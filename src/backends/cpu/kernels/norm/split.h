// How the memory-bound kernels share rows out to threads, and when they look at a stop.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "backends/cpu/kernels/norm/quantize.h"
#include "base/parallel.h"
#include "base/stop.h"

namespace vivace::cpu {

// Elements worth waking a thread for: about the 3 microseconds that a parallel region costs, at a few elements a nanosecond.
inline constexpr int64_t kElementGrain = 16384;

// The smallest part, in rows.
inline int64_t grain_rows(int64_t channels) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, channels)); }

// Elements between two looks at a stop: a few milliseconds of the longest chains.
inline constexpr int64_t kStopElements = 1 << 19;

// work(begin, end) for parts of [0, rows) on all threads, until it is stopped.
template <class Work>
void share_rows(int64_t rows, int64_t channels, Stop stop, const Work& work) {
  const int64_t step = std::max<int64_t>(1, kStopElements / std::max<int64_t>(1, channels));
  parallel_for(rows, grain_rows(channels), [&](int64_t begin, int64_t end) {
    for (; begin < end && !stopped(stop); begin += step) work(begin, std::min(end, begin + step));
  });
}

// work(begin, end) returns the first bad row of its part or kNoBadRow; so does this, of all.
template <class Work>
int64_t split_rows(int64_t rows, int64_t channels, Stop stop, const Work& work) {
  std::atomic<int64_t> first{INT64_MAX};
  share_rows(rows, channels, stop, [&](int64_t begin, int64_t end) {
    const int64_t bad = work(begin, end);
    if (bad == kNoBadRow) return;
    int64_t seen = first.load(std::memory_order_relaxed);
    while (bad < seen && !first.compare_exchange_weak(seen, bad, std::memory_order_relaxed)) {
    }
  });
  const int64_t bad = first.load(std::memory_order_relaxed);
  return bad == INT64_MAX ? kNoBadRow : bad;
}

}  // namespace vivace::cpu
