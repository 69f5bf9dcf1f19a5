#include "runtime/request.h"

#include <atomic>
#include <cstddef>
#include <iterator>

#include "vivace/error.h"

namespace vivace {
namespace {

using Field = int64_t RequestCounters::*;
constexpr Field kFields[] = {&RequestCounters::allocations,    &RequestCounters::host_device_syncs, &RequestCounters::steps_recorded,
                             &RequestCounters::steps_replayed, &RequestCounters::plans_compiled,    &RequestCounters::plans_resized,
                             &RequestCounters::guards_failed,  &RequestCounters::plans_loaded,      &RequestCounters::constants_prepared,
                             &RequestCounters::settings_timed, &RequestCounters::parts_given_back};
static_assert(sizeof(RequestCounters) == std::size(kFields) * sizeof(int64_t), "a counter is missing in kFields");

std::atomic<int64_t> g_totals[std::size(kFields)];

}  // namespace

Request::~Request() {
  for (size_t i = 0; i < std::size(kFields); ++i) g_totals[i].fetch_add(counters.*kFields[i], std::memory_order_relaxed);
}

void Request::check() const {
  if (stop.stop_requested()) throw Interrupted("stopped");
}

RequestCounters process_counters() {
  RequestCounters counters;
  for (size_t i = 0; i < std::size(kFields); ++i) counters.*kFields[i] = g_totals[i].load(std::memory_order_relaxed);
  return counters;
}

}  // namespace vivace
