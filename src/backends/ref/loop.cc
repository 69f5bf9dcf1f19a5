// A denoising step around the model's, as the host's loop does it (families/common/guided_predictor.cc, schedulers/step_program.cc).
#include <algorithm>
#include <bit>
#include <cmath>

#include "backends/ref/kernels.h"
#include "base/log.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace::ref {
namespace {

const int32_t* row_of(const LoopState& state) { return state.table + static_cast<int64_t>(state.row) * state.row_words; }

float number(int32_t bits) { return std::bit_cast<float>(bits); }

template <class T>
void feed(const LoopCall& call) {
  const int32_t* const row = row_of(*call.state);
  const float factor = number(row[LoopRow::kInputScale]);
  T* to = static_cast<T*>(call.input);
  for (int64_t n = 0; n < (call.halves ? 2 : 1) * call.images; ++n) {
    const float* const from = call.state->slots + n % call.images * call.channels * call.pixels;
    const float* const with = call.beside + n % call.images * call.beside_channels * call.pixels;
    for (int64_t p = 0; p < call.pixels; ++p) {
      for (int64_t c = 0; c < call.channels; ++c) *to++ = T(from[c * call.pixels + p] * factor);
      for (int64_t c = 0; c < call.beside_channels; ++c) *to++ = T(with[c * call.pixels + p]);
    }
  }
  *static_cast<int32_t*>(call.step) = row[LoopRow::kModelStep];
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

template <class T>
void finish(const LoopCall& call) {
  LoopState& state = *call.state;
  const int32_t* const row = row_of(state);
  const float scale = number(row[LoopRow::kGuidanceScale]);
  const int64_t count = call.values();
  const T* const first = static_cast<const T*>(call.output);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t p = i % call.pixels, c = i / call.pixels % call.channels, n = i / call.pixels / call.channels,
                  at = (n * call.pixels + p) * call.channels + c;
    auto x = static_cast<float>(first[call.halves ? count + at : at]);
    if (call.halves) {
      const auto from = static_cast<float>(first[at]);
      x = from + scale * (x - from);
    }
    if (!std::isfinite(x) && state.bad_row < 0) state.bad_row = state.row;
    state.slots[kModelOutput * count + i] = x;
    combine(row, state.slots, count, i);
    state.slots[kSample * count + i] = state.slots[kPrevSample * count + i];
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
  return {.feed = of_type(call.input_dtype, [&]<class T>(T) { return bound([call] { feed<T>(call); }); }),
          .finish = of_type(call.output_dtype, [&]<class T>(T) { return bound([call] { finish<T>(call); }); })};
}

}  // namespace vivace::ref
