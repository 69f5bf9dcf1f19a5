#include "pipelines/denoise_loop.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "tensor/allocations.h"
#include "vivace/error.h"

namespace vivace {

DenoiseResult denoise(DenoiseRequest r) {
  DenoiseResult result;
  Tensor latents = std::move(r.latents);  // the only owner, so that the scheduler can write over it
  const Shape shape = latents.shape();
  Tensor prediction(shape, DType::float32);
  result.seconds.reserve(static_cast<size_t>(std::max(r.last_step - r.first_step, 0)));
  if (r.first_step > 0) r.scheduler->set_begin_index(r.first_step);
  const RequestCounters& counters = r.request->counters;
  const auto allocations = [&] { return tensor_allocations() + counters.allocations; };
  int64_t allocations_before = 0, syncs_before = 0;
  for (int i = r.first_step; i < r.last_step; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const float t = r.scheduler->timesteps()[static_cast<size_t>(i)];
    r.predictor->predict(i, t, r.scheduler->input_scale(i), latents, prediction);
    r.scheduler->step_in_place(prediction, i, latents, r.generators);
    if (r.after_step) r.after_step(i, latents);
    result.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (i == r.first_step) {
      allocations_before = allocations();
      syncs_before = counters.host_device_syncs;
    }
    if (r.on_step_end) {
      StepState state{.latents = std::move(latents), .num_timesteps = r.last_step - r.first_step, .seconds = result.seconds.back()};
      r.on_step_end(i - r.first_step, t, state);
      latents = std::move(state.latents);
      if (latents.shape() != shape || latents.dtype() != DType::float32)
        throw UsageError(cat("the callback left latents of shape ", to_string(latents.shape()), " and dtype ", dtype_name(latents.dtype()),
                             ": expected float32 ", to_string(shape)));
      if (state.interrupt) break;
    }
  }
  if (!result.seconds.empty()) {
    result.allocations = allocations() - allocations_before;
    result.host_device_syncs = counters.host_device_syncs - syncs_before;
  }
  result.latents = std::move(latents);
  return result;
}

}  // namespace vivace
