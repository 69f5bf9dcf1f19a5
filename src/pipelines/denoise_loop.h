// The sampling loop, written once: scheduler, guidance and callback around the steps of one session. Sigmas and coefficients stay on the host.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/session.h"
#include "vivace/pipeline.h"

namespace vivace {

struct DenoiseRequest {
  Session* session = nullptr;  // inputs "sample" [N, H, W, C] and "timestep" [1], output "sample"; set up already
  Scheduler* scheduler = nullptr;  // timesteps set
  int steps = 0;                   // how many of the scheduler's timesteps to take
  Tensor latents;                  // float32 [images, C, h, w], at the first timestep's noise level
  double guidance_scale = 1;       // above 1 with `guidance`: the session's batch is [negative | positive]
  bool guidance = false;
  double guidance_rescale = 0;
  std::span<Generator* const> generators;
  std::function<void(int step, float timestep, StepState&)> on_step_end;  // may be empty
};

// Returns the final latents; adds each step's seconds to `seconds`.
// Throws UserError when the model's output is not finite.
Tensor denoise(const DenoiseRequest& request, std::vector<double>& seconds);

}  // namespace vivace
