// What stands around a model's step in a denoising loop, with each step's numbers from a table that the host made before the first one.
#pragma once

#include "movement.cuh"

namespace vivace::cuda {

__device__ inline const int* row_of(const LoopState& state) { return state.table + static_cast<long long>(state.row) * state.row_words; }
__device__ inline float number(int bits) { return float_of(static_cast<unsigned>(bits)); }

// T: the model's input.
template <class T>
__device__ void feed(const FeedArguments& a) {
  const int* const row = row_of(*a.state);
  const float* const latents = a.state->slots;  // kLatents is the first
  const float factor = number(row[kInputScaleWord]);
  const long long each = a.channels + a.beside_channels;
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const long long c = i % each, p = i / each % a.pixels, n = i / each / a.pixels % a.images;
    const float x = c < a.channels ? mul_rounded(latents[(n * a.channels + c) * a.pixels + p], factor)
                                   : a.beside[(n * a.beside_channels + c - a.channels) * a.pixels + p];
    from_float(x, static_cast<T*>(a.input)[i]);
  }
  if (threadIdx.x == 0 && blockIdx.x == 0) *a.step = row[kStepWord];
}

// T: of all that is added.
template <class T>
__device__ void add_scaled(const AddArguments& a) {
  const int* const row = row_of(*a.state);
  for (long long i = first_index(); i < a.count; i += index_step()) {
    T sum;
    from_float(0.f, sum);
    for (int m = 0; m < a.models; ++m) {
      const float scale = mul_rounded(number(row[kAddedWord + m]), a.depth);
      const long long at = i - (a.count - a.counts[m]);
      if (scale == 0.f || at < 0) continue;  // it did not run, or gives no such element
      from_float(add_rounded(to_float(sum), mul_rounded(scale, to_float(static_cast<const T*>(a.from[m])[at]))), sum);
    }
    static_cast<T*>(a.to)[i] = sum;
  }
}

// Products and sums round each on their own and in the order of the terms, as the host's step does (schedulers/step_program.h). T: the model's
// output.
template <class T>
__device__ void guide(const GuideArguments& a) {
  const float scale = number(row_of(*a.state)[kGuidanceWord]);
  float* const predicted = a.state->slots + kPredicted * a.count;
  for (long long at = first_index(); at < a.count; at += index_step()) {
    const long long c = at % a.channels, pixel = at / a.channels, n = pixel / a.pixels, p = pixel - n * a.pixels;
    float x = to_float(static_cast<const T*>(a.positive)[at]);
    if (a.negative) {
      const float from = to_float(static_cast<const T*>(a.negative)[at]);
      x = add_rounded(from, mul_rounded(scale, x - from));
    }
    if (!(fabsf(x) <= 3.402823466e38f) && a.state->bad_row < 0) a.state->bad_row = a.state->row;
    predicted[(n * a.channels + c) * a.pixels + p] = x;
  }
}

// A block an image. Its guided prediction gets the deviation of the positive one, as far as the row says. Shared: a float a warp, four times.
template <class T>
__device__ void rescale(const GuideArguments& a) {
  const float share = number(row_of(*a.state)[kRescaleWord]);
  if (share == 0.f) return;
  const long long image = a.channels * a.pixels;
  float* const guided = a.state->slots + kPredicted * a.count + blockIdx.x * image;
  const T* const positive = static_cast<const T*>(a.positive) + blockIdx.x * image;
  float* const partial = reinterpret_cast<float*>(shared_memory());
  const float count = static_cast<float>(image);
  float x = 0.f, y = 0.f;
  for (long long i = threadIdx.x; i < image; i += blockDim.x) {
    x += guided[i];
    y += to_float(positive[i]);
  }
  const float guided_mean = fast_divide(sum_of_block(x, partial), count), mean = fast_divide(sum_of_block(y, partial + 32), count);
  x = y = 0.f;
  for (long long i = threadIdx.x; i < image; i += blockDim.x) {
    const float from_guided = guided[i] - guided_mean, from = to_float(positive[i]) - mean;
    x += from_guided * from_guided;
    y += from * from;
  }
  const float squares = sum_of_block(x, partial + 64), wanted = sum_of_block(y, partial + 96);
  const float factor = share * sqrtf(wanted / squares) + (1.f - share);
  for (long long i = threadIdx.x; i < image; i += blockDim.x) guided[i] *= factor;
}

__device__ inline void finish(const FinishArguments& a) {
  const int* const row = row_of(*a.state);
  float* const slots = a.state->slots;
  const float* const picture = a.state->kept;
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const int* word = row + kFirstWord;
    for (int k = row[kCombinationsWord]; k > 0; --k) {
      const int target = *word++;
      const float range = number(*word++);
      float sum = 0.f;
      for (int terms = *word++; terms > 0; --terms, word += 2) sum = add_rounded(sum, mul_rounded(number(word[1]), slots[word[0] * a.count + i]));
      slots[target * a.count + i] = range == 0.f || sum != sum ? sum : sum < -range ? -range : sum > range ? range : sum;
    }
    float x = slots[kNextLatents * a.count + i];
    if (picture) {
      const float* const noise = picture + a.count;
      const float m = noise[a.count + i / (a.channels * a.pixels) * a.pixels + i % a.pixels], factor = number(row[kKeptNoiseWord]);
      float at = mul_rounded(number(row[kKeptPictureWord]), picture[i]);
      if (factor != 0.f) at = add_rounded(at, mul_rounded(factor, noise[i]));
      x = add_rounded(mul_rounded(1.f - m, at), mul_rounded(m, x));
    }
    slots[kLatents * a.count + i] = x;
  }
}

// Once at the end of a step, by one thread: nobody reads the row any more.
__device__ inline void advance(const AdvanceArguments& a) {
  if (threadIdx.x == 0 && blockIdx.x == 0) ++a.state->row;
}

}  // namespace vivace::cuda
