// The sampling loop, written once: scheduler, guidance and callback around the steps of one session. Sigmas and coefficients stay on the host.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/session.h"
#include "vivace/pipeline.h"

namespace vivace {

struct DenoiseRequest {
  // Input "sample" [N, H, W, C], output "sample", and what tells the step: "step_index" [1] where all timesteps were given in setup, or
  // "timestep" [1]. Set up already.
  Session* session = nullptr;
  Request* request = nullptr;
  Scheduler* scheduler = nullptr;  // timesteps set
  int steps = 0;                   // how many of the scheduler's timesteps to take
  Tensor latents;                  // float32 [images, C, h, w], at the first timestep's noise level
  double guidance_scale = 1;       // above 1 with `guidance`: the session's batch is [negative | positive]
  bool guidance = false;
  double guidance_rescale = 0;
  std::span<Generator* const> generators;
  std::function<void(int step, float timestep, StepState&)> on_step_end;  // may be empty
};

struct DenoiseResult {
  Tensor latents;
  std::vector<double> seconds;  // one entry a step
  // After the first step: tensors and pages taken, waits for a device. Both are 0 unless noise is drawn or a callback keeps tensors.
  int64_t allocations = 0, host_device_syncs = 0;
};

// Throws Interrupted when the request stops, UserError when the model's output is not finite, UsageError when a callback leaves latents of another shape.
DenoiseResult denoise(DenoiseRequest request);

}  // namespace vivace
