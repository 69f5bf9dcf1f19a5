// Request: all that one call changes beside its results. Of one thread at a time; what requests share is immutable or locks itself.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>

#include "vivace/compile.h"
#include "vivace/error.h"

namespace vivace {

// What the runtime did for a request. Tensors are counted by tensor_allocations().
struct RequestCounters {
  int64_t allocations = 0;  // of arenas, workspaces and constants
  // Waits of the host for a device, counted by Stream::wait() alone. The CPU's work is done when it returns, so it never counts.
  int64_t host_device_syncs = 0;
  int64_t steps_recorded = 0;  // programs of a denoising step that became one launch: CUDA graphs that were captured
  int64_t steps_replayed = 0;  // runs of them
  int64_t plans_compiled = 0;
  int64_t plans_resized = 0;       // by resize(): no pass, no choice of kernels
  int64_t guards_failed = 0;       // plans that could not be resized to a call
  int64_t plans_loaded = 0;        // from the cache or a package, instead of compiled
  int64_t constants_prepared = 0;  // prepare steps run: casts, joins, packing
  int64_t settings_timed = 0;      // kernels with parameters, by max-autotune
  int64_t parts_given_back = 0;    // components whose prepared weights went so that others have room
};

struct Request {
  explicit Request(std::stop_token token = {}, std::optional<SDPBackends> scope = {}) : stop(std::move(token)), sdpa(std::move(scope)) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  // Adds its counters to the process's.
  ~Request();

  // Throws Interrupted once the request is to stop.
  void check() const;

  std::stop_token stop;             // looked at between kernels, passes, timings and parts, and while waiting
  std::optional<SDPBackends> sdpa;  // of the caller's sdpa_kernel scope; nothing outside any
  bool vae_tiles = false;           // the VAE works in tiles, since whole pictures would not fit (pipelines/memory_plan.h)
  RequestCounters counters;
};

// What a model made holds a NaN or an infinity: damaged weights, or a dtype that does not reach far enough.
class NotFinite : public UserError {
 public:
  using UserError::UserError;
};

// Of all requests of this process that have ended.
RequestCounters process_counters();

}  // namespace vivace
