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
  const float factor = number(row[1]);
  const long long each = a.channels + a.beside_channels;
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const long long c = i % each, p = i / each % a.pixels, n = i / each / a.pixels % a.images;
    const float x = c < a.channels ? mul_rounded(latents[(n * a.channels + c) * a.pixels + p], factor)
                                   : a.beside[(n * a.beside_channels + c - a.channels) * a.pixels + p];
    from_float(x, static_cast<T*>(a.input)[i]);
  }
  if (threadIdx.x == 0 && blockIdx.x == 0) *a.step = row[0];
}

// Products and sums round each on their own and in the order of the terms, as the host's step does (schedulers/step_program.h). T: the model's
// output.
template <class T>
__device__ void finish(const FinishArguments& a) {
  const int* const row = row_of(*a.state);
  float* const slots = a.state->slots;
  const T* const output = static_cast<const T*>(a.output);
  const float scale = number(row[2]);
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const long long p = i % a.pixels, c = i / a.pixels % a.channels, n = i / a.pixels / a.channels, at = (n * a.pixels + p) * a.channels + c;
    float x = to_float(output[a.halves ? a.count + at : at]);
    if (a.halves) {
      const float from = to_float(output[at]);
      x = add_rounded(from, mul_rounded(scale, x - from));
    }
    if (!(fabsf(x) <= 3.402823466e38f) && a.state->bad_row < 0) a.state->bad_row = a.state->row;
    slots[kPredicted * a.count + i] = x;
    const int* word = row + 4;
    for (int k = row[3]; k > 0; --k) {
      const int target = *word++;
      const float range = number(*word++);
      float sum = 0.f;
      for (int terms = *word++; terms > 0; --terms, word += 2) sum = add_rounded(sum, mul_rounded(number(word[1]), slots[word[0] * a.count + i]));
      slots[target * a.count + i] = range == 0.f || sum != sum ? sum : sum < -range ? -range : sum > range ? range : sum;
    }
    slots[kLatents * a.count + i] = slots[kNextLatents * a.count + i];
  }
}

// Once at the end of a step, by one thread: nobody reads the row any more.
__device__ inline void advance(const AdvanceArguments& a) {
  if (threadIdx.x == 0 && blockIdx.x == 0) ++a.state->row;
}

}  // namespace vivace::cuda
