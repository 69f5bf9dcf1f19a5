// A denoising step around the model's, as the host's loop does it (families/common/guided_predictor.cc, schedulers/step_program.cc).
#include <algorithm>
#include <bit>
#include <cmath>

#include "backends/ref/kernels.h"
#include "base/log.h"
#include "base/statistics.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace::ref {
namespace {

const int32_t* row_of(const LoopState& state) { return state.table + static_cast<int64_t>(state.row) * state.row_words; }

float number(int32_t bits) { return std::bit_cast<float>(bits); }

template <class T>
void feed(const LoopCall& call, const LoopModel& model) {
  const int32_t* const row = row_of(*call.state);
  const float factor = number(row[LoopRow::kInputScale]);
  const int64_t more = model.beside ? call.beside_channels : 0;
  T* to = static_cast<T*>(model.input);
  for (int64_t n = 0; n < (model.halves ? 2 : 1) * call.images; ++n) {
    const float* const from = call.state->slots + n % call.images * call.channels * call.pixels;
    const float* const with = call.beside + n % call.images * more * call.pixels;
    for (int64_t p = 0; p < call.pixels; ++p) {
      for (int64_t c = 0; c < call.channels; ++c) *to++ = T(from[c * call.pixels + p] * factor);
      for (int64_t c = 0; c < more; ++c) *to++ = T(with[c * call.pixels + p]);
    }
  }
  *static_cast<int32_t*>(model.step) = row[LoopRow::kModelStep];
}

template <class T>
void add(const LoopState& state, const LoopSum& sum) {
  T* const to = static_cast<T*>(sum.to);
  std::fill_n(to, sum.count, T(0.f));
  for (size_t k = 0; k < sum.from.size(); ++k) {
    const float scale = number(row_of(state)[LoopRow::kAdded + k]) * sum.depth;
    if (scale == 0) continue;  // it did not run
    const T* const from = static_cast<const T*>(sum.from[k].data);
    T* const last = to + (sum.count - sum.from[k].count);
    for (int64_t i = 0; i < sum.from[k].count; ++i) last[i] = T(static_cast<float>(last[i]) + scale * static_cast<float>(from[i]));
  }
}

// All combinations of element i of the latents.
void combine(const int32_t* row, float* slots, int64_t count, int64_t i) {
  const int32_t* word = row + LoopRow::kFirst;
  for (int32_t k = 0; k < row[LoopRow::kCombinations]; ++k) {
    const int32_t target = *word++;
    const float range = number(*word++);
    float sum = 0;
    for (int32_t terms = *word++; terms > 0; --terms, word += 2) sum += number(word[1]) * slots[word[0] * count + i];
    slots[target * count + i] = range > 0 ? std::clamp(sum, -range, range) : sum;
  }
}

// The next latent, where a mask puts a picture's back.
float kept(const LoopCall& call, const int32_t* row, float x, int64_t i) {
  const float* const picture = call.state->kept;
  if (!picture) return x;
  const float* const noise = picture + call.values();
  const float m = noise[call.values() + i / (call.channels * call.pixels) * call.pixels + i % call.pixels];
  float at = number(row[LoopRow::kKeptPicture]) * picture[i];
  if (const float factor = number(row[LoopRow::kKeptNoise]); factor != 0) at += factor * noise[i];
  return (1 - m) * at + m * x;
}

template <class T>
void finish(const LoopCall& call) {
  LoopState& state = *call.state;
  const int32_t* const row = row_of(state);
  const float scale = number(row[LoopRow::kGuidanceScale]);
  const int64_t count = call.values(), image = call.channels * call.pixels;
  const T *const positive = static_cast<const T*>(call.output), *const negative = static_cast<const T*>(call.negative);
  float* const predicted = state.slots + kModelOutput * count;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t p = i % call.pixels, c = i / call.pixels % call.channels, n = i / image, at = (n * call.pixels + p) * call.channels + c;
    auto x = static_cast<float>(positive[at]);
    if (negative) {
      const auto from = static_cast<float>(negative[at]);
      x = from + scale * (x - from);
    }
    if (!std::isfinite(x) && state.bad_row < 0) state.bad_row = state.row;
    predicted[i] = x;
  }
  const double rescale = number(row[LoopRow::kRescale]);
  for (int64_t n = 0; rescale > 0 && n < call.images; ++n) {
    float* const x = predicted + n * image;
    const double wanted = standard_deviation(positive + n * image, image);
    const auto factor = static_cast<float>(rescale * wanted / standard_deviation(x, image) + (1 - rescale));
    for (int64_t i = 0; i < image; ++i) x[i] *= factor;
  }
  for (int64_t i = 0; i < count; ++i) {
    combine(row, state.slots, count, i);
    state.slots[kSample * count + i] = kept(call, row, state.slots[kPrevSample * count + i], i);
  }
  ++state.row;
}

// `fn` with a value of the type that the dtype stands for.
template <class Fn>
std::unique_ptr<BoundKernel> of_type(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::float32:
      return fn(float{});
    case DType::bfloat16:
      return fn(bf16{});
    case DType::float16:
      return fn(f16{});
    default:
      throw InternalError(cat("a model of ", dtype_name(dtype), " in a loop"));
  }
}

}  // namespace

LoopKernels loop_kernels(const LoopCall& call) {
  LoopKernels kernels;
  for (const LoopModel& model : call.models)
    kernels.feeds.push_back(of_type(model.input_dtype, [&]<class T>(T) { return bound([call, model] { feed<T>(call, model); }); }));
  if (!call.sums.empty())
    kernels.add = of_type(call.sums.front().dtype, [&]<class T>(T) {
      return bound([call] {
        for (const LoopSum& sum : call.sums) add<T>(*call.state, sum);
      });
    });
  kernels.finish = of_type(call.output_dtype, [&]<class T>(T) { return bound([call] { finish<T>(call); }); });
  return kernels;
}

}  // namespace vivace::ref
