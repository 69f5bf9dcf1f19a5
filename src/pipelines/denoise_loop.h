// The sampling loop, written once: a predictor, a scheduler and a callback. It knows nothing of ranks, of guidance or of what latents are of; a start
// in the middle, what a mask keeps, several models in a step are its callers' (pipelines/call.cc, the predictors). Where a device takes whole steps
// (Predictor::on_device) the host is up to two of them ahead, and waits after the last.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "families/predictor.h"
#include "runtime/request.h"
#include "vivace/pipeline.h"

namespace vivace {

struct DenoiseRequest {
  Predictor* predictor = nullptr;
  Request* request = nullptr;
  Scheduler* scheduler = nullptr;     // timesteps set
  int first_step = 0, last_step = 0;  // of the scheduler's timesteps; the last is not taken
  Tensor latents;                     // float32 of any shape, batch first, at the first step's noise level
  std::span<Generator* const> generators;
  Kept kept;                                                              // or nothing; before on_step_end sees the latents
  std::function<void(int step, float timestep, StepState&)> on_step_end;  // may be empty; counts the steps taken
  bool gives_latents = true;                                              // to on_step_end, which may change them
};

struct DenoiseResult {
  Tensor latents;
  std::vector<double> seconds;  // one entry a step
  // After the first step and before the wait for the last: tensors and pages taken, waits for a device. Both are 0 unless noise is drawn or a
  // callback keeps tensors, and where the steps are the device's.
  int64_t allocations = 0, host_device_syncs = 0;
  std::string loop_break;  // why the steps are not the device's, where it has a memory of its own
};

// Throws what the predictor throws, UsageError when a callback leaves latents of another shape.
DenoiseResult denoise(DenoiseRequest request);

}  // namespace vivace
