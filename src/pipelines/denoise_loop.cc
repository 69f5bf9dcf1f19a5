#include "pipelines/denoise_loop.h"

#include <chrono>
#include <cmath>

#include "base/log.h"
#include "tensor/allocations.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Calls fn with a pointer of the tensor's type.
template <class Fn>
auto with_activations(const Tensor& t, const Fn& fn) {
  switch (t.dtype()) {
    case DType::bfloat16: return fn(t.as<bf16>());
    case DType::float16: return fn(t.as<f16>());
    default: return fn(t.as<float>());
  }
}

// [images, channels, pixels] outside, [images, pixels, channels] inside.
struct Layout {
  int64_t images, channels, pixels;
  int64_t image() const { return channels * pixels; }
};

// latents * factor -> the session's input, the same images again for the second half of a guided batch.
void feed(const Tensor& latents, const Layout& l, float factor, Tensor& input) {
  with_activations(input, [&]<class T>(const T*) {
    T* to = input.as<T>();
    for (int64_t n = 0; n < input.dim(0); ++n) {
      const float* from = latents.as<float>() + n % l.images * l.image();
      for (int64_t p = 0; p < l.pixels; ++p)
        for (int64_t c = 0; c < l.channels; ++c) *to++ = T(from[c * l.pixels + p] * factor);
    }
  });
}

// The session's output -> prediction, negative + scale * (positive - negative) with guidance. Whether all of it is finite.
bool read(const Tensor& output, const Layout& l, bool guidance, float scale, Tensor& prediction) {
  return with_activations(output, [&](const auto* from) {
    const auto* positive = from + l.images * l.image();
    bool finite = true;
    for (int64_t n = 0; n < l.images; ++n) {
      float* to = prediction.as<float>() + n * l.image();
      for (int64_t p = 0; p < l.pixels; ++p)
        for (int64_t c = 0; c < l.channels; ++c) {
          auto x = static_cast<float>(*from++);
          if (guidance) x += scale * (static_cast<float>(*positive++) - x);
          finite = finite && std::isfinite(x);
          to[c * l.pixels + p] = x;
        }
    }
    return finite;
  });
}

template <class T>
double standard_deviation(const T* x, int64_t n) {
  double mean = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) mean += static_cast<float>(x[i]);
  mean /= static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) sum += (static_cast<float>(x[i]) - mean) * (static_cast<float>(x[i]) - mean);
  return std::sqrt(sum / static_cast<double>(n - 1));
}

// rescale_noise_cfg (https://arxiv.org/abs/2305.08891, section 3.4): the guided prediction gets the deviation of the positive half.
void rescale(const Tensor& output, const Layout& l, double amount, Tensor& prediction) {
  for (int64_t n = 0; n < l.images; ++n) {
    float* x = prediction.as<float>() + n * l.image();
    const double wanted = with_activations(output, [&](const auto* all) { return standard_deviation(all + (l.images + n) * l.image(), l.image()); });
    const auto factor = static_cast<float>(amount * wanted / standard_deviation(x, l.image()) + (1 - amount));
    for (int64_t i = 0; i < l.image(); ++i) x[i] *= factor;
  }
}

}  // namespace

DenoiseResult denoise(DenoiseRequest r) {
  DenoiseResult result;
  Tensor latents = std::move(r.latents);  // the only owner, so that the scheduler can write over it
  const Shape shape = latents.shape();
  const Layout layout{shape[0], shape[1], shape[2] * shape[3]};
  const bool scheduled = r.session->has_input("step_index");
  Port input = r.session->input("sample"), step = r.session->input(scheduled ? "step_index" : "timestep");
  const Port output = r.session->output("sample");
  Tensor prediction(shape, DType::float32);
  if (input.host.numel() != layout.images * layout.image() * (r.guidance ? 2 : 1) || input.host.numel() != output.host.numel())
    throw InternalError(cat("latents ", to_string(shape), " do not fit the input ", to_string(input.host.shape()), " and the output ", to_string(output.host.shape())));
  result.seconds.reserve(static_cast<size_t>(r.steps));
  const RequestCounters& counters = r.request->counters;
  const auto allocations = [&] { return tensor_allocations() + counters.allocations; };
  int64_t allocations_before = 0, syncs_before = 0;
  for (int i = 0; i < r.steps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const float t = r.scheduler->timesteps()[static_cast<size_t>(i)];
    feed(latents, layout, r.scheduler->input_scale(i), input.host);
    if (scheduled)
      *step.host.as<int32_t>() = i;
    else
      *step.host.as<float>() = t;
    r.session->send(input);
    r.session->send(step);
    r.session->run(Phase::step, *r.request);
    r.session->fetch(output);
    r.session->wait(*r.request);  // the loop's only one
    r.session->check_quantized();
    const bool finite = read(output.host, layout, r.guidance, static_cast<float>(r.guidance_scale), prediction);
    if (!finite) throw UserError(cat("the UNet gave a NaN or an infinity at step ", i + 1, " of ", r.steps, " (timestep ", t, ")"));
    if (r.guidance && r.guidance_rescale > 0) rescale(output.host, layout, r.guidance_rescale, prediction);
    r.scheduler->step_in_place(prediction, i, latents, r.generators);
    result.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (i == 0) {
      allocations_before = allocations();
      syncs_before = counters.host_device_syncs;
    }
    if (r.on_step_end) {
      StepState state{.latents = std::move(latents), .num_timesteps = r.steps, .seconds = result.seconds.back()};
      r.on_step_end(i, t, state);
      latents = std::move(state.latents);
      if (latents.shape() != shape || latents.dtype() != DType::float32)
        throw UsageError(cat("the callback left latents of shape ", to_string(latents.shape()), " and dtype ", dtype_name(latents.dtype()), ": expected float32 ", to_string(shape)));
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
