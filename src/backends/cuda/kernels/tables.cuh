// Tensors that follow from a formula. Any grid of one dimension.
#pragma once

#include "movement.cuh"

namespace vivace::cuda {

// T5's bucket of a key `delta` tokens behind its query (ops/positions.h).
__device__ inline int relative_position_bucket(int delta, int buckets, int max_distance) {
  const int half = buckets / 2, exact = half / 2, distance = delta < 0 ? -delta : delta, side = delta > 0 ? half : 0;
  if (distance < exact) return side + distance;
  const float ratio = logf(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const int step = exact + static_cast<int>(ratio * static_cast<float>(half - exact));
  return side + (step < half - 1 ? step : half - 1);
}

template <class T>
__device__ void fill(const TableArguments& a) {
  for (long long i = first_index(); i < a.count; i += index_step()) from_float(static_cast<float>(a.value), static_cast<T*>(a.out)[i]);
}

__device__ inline void causal_mask(const TableArguments& a) {
  for (long long i = first_index(); i < a.count; i += index_step())
    static_cast<float*>(a.out)[i] = i % a.columns > i / a.columns ? float_of(0xff800000u) : 0.f;
}

// The frequency is rounded to float32, as the reference rounds it: at t = 999 the rounding shows.
__device__ inline void sinusoid(const TableArguments& a) {
  const int half = a.columns / 2;
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const int j = static_cast<int>(i % a.columns);
    const float exponent = mul_rounded(static_cast<float>(-9.210340371976184), static_cast<float>(j % half)) / static_cast<float>(half - a.value);
    const float frequency = static_cast<float>(exp(static_cast<double>(exponent)));
    const double angle = mul_rounded(a.scale, mul_rounded(static_cast<const float*>(a.in)[i / a.columns], frequency));
    const bool cosine = (j < half) == (a.flip != 0);
    static_cast<float*>(a.out)[i] = j >= 2 * half ? 0.f : static_cast<float>(cosine ? cos(angle) : sin(angle));
  }
}

// Pairs (cos, sin) of position * theta^(-2k / dim), axis after axis.
__device__ inline void rotary_table(const TableArguments& a) {
  for (long long i = first_index(); i < a.count / 2; i += index_step()) {
    int column = static_cast<int>(i % (a.columns / 2)) * 2, axis = 0;
    while (column >= a.dims[axis]) column -= a.dims[axis++];
    const double at = static_cast<const float*>(a.in)[i / (a.columns / 2) * a.axes + axis];
    const double angle = at / pow(a.value, static_cast<double>(column) / static_cast<double>(a.dims[axis]));
    static_cast<float*>(a.out)[2 * i] = static_cast<float>(cos(angle));
    static_cast<float*>(a.out)[2 * i + 1] = static_cast<float>(sin(angle));
  }
}

// [1, heads, tokens, tokens] from the table [buckets, heads]; columns: tokens.
template <class T>
__device__ void relative_position_bias(const TableArguments& a) {
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const int key = static_cast<int>(i % a.columns), query = static_cast<int>(i / a.columns % a.columns);
    const int head = static_cast<int>(i / a.columns / a.columns);
    const int bucket = relative_position_bucket(key - query, a.buckets, a.max_distance);
    static_cast<float*>(a.out)[i] = to_float(static_cast<const T*>(a.in)[bucket * a.heads + head]);
  }
}

}  // namespace vivace::cuda
