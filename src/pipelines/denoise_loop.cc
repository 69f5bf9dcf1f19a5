#include "pipelines/denoise_loop.h"

#include <chrono>
#include <cmath>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

double standard_deviation(const float* x, int64_t n) {
  double mean = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return std::sqrt(sum / static_cast<double>(n - 1));
}

// negative + scale * (positive - negative), in place of the first half; then rescale_noise_cfg (https://arxiv.org/abs/2305.08891, section 3.4).
Tensor guide(const Tensor& both, const DenoiseRequest& request) {
  const int64_t images = both.dim(0) / 2, one = both.numel() / both.dim(0);
  Tensor out = both.rows(0, images).clone();
  const float* positive = both.as<float>() + images * one;
  float* x = out.as<float>();
  const auto scale = static_cast<float>(request.guidance_scale);
  for (int64_t i = 0; i < images * one; ++i) x[i] += scale * (positive[i] - x[i]);
  if (request.guidance_rescale <= 0) return out;
  for (int64_t n = 0; n < images; ++n) {
    const double ratio = standard_deviation(positive + n * one, one) / standard_deviation(x + n * one, one);
    const auto factor = static_cast<float>(request.guidance_rescale * ratio + (1 - request.guidance_rescale));
    for (int64_t i = n * one; i < (n + 1) * one; ++i) x[i] *= factor;
  }
  return out;
}

// latents [images, C, H, W] * factor -> the session's input [batch, H, W, C], the same images again for the second half of a guided batch.
void feed(Session& session, const Tensor& latents, float factor) {
  Tensor input = session.input("sample");
  const Tensor nhwc = nchw_to_nhwc(latents);
  if (input.dim(0) % nhwc.dim(0) || input.numel() / input.dim(0) != nhwc.numel() / nhwc.dim(0))
    throw InternalError(cat("latents ", to_string(latents.shape()), " do not fit the input ", to_string(input.shape())));
  Tensor scaled({input.dim(0), input.dim(1), input.dim(2), input.dim(3)}, DType::float32);
  const int64_t n = nhwc.numel();
  for (int64_t i = 0; i < scaled.numel(); ++i) scaled.as<float>()[i] = nhwc.as<float>()[i % n] * factor;
  session.set_input("sample", scaled);
}

bool is_finite(const Tensor& t) {
  for (float x : t.floats())
    if (!std::isfinite(x)) return false;
  return true;
}

}  // namespace

Tensor denoise(const DenoiseRequest& request, std::vector<double>& seconds) {
  Tensor latents = request.latents;
  for (int i = 0; i < request.steps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const float t = request.scheduler->timesteps()[static_cast<size_t>(i)];
    feed(*request.session, latents, request.scheduler->input_scale(i));
    request.session->set_input("timestep", Tensor::from({t}));
    request.session->run(Phase::step);
    request.session->check_quantized();
    Tensor output = nhwc_to_nchw(request.session->output("sample").to(DType::float32));
    if (request.guidance) output = guide(output, request);
    if (!is_finite(output)) throw UserError(cat("the UNet gave a NaN or an infinity at step ", i + 1, " of ", request.steps, " (timestep ", t, ")"));
    latents = request.scheduler->step(output, i, latents, request.generators);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (!request.on_step_end) continue;
    StepState state{.latents = latents, .seconds = seconds.back()};
    request.on_step_end(i, t, state);
    latents = state.latents;
    if (state.interrupt) break;
  }
  return latents;
}

}  // namespace vivace
