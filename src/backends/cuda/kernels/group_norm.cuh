// GroupNorm of NHWC images in two launches: the moments of each chunk of pixels, by group; then all chunks' merged (Chan's formula), and applied.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// Of `count` values: their mean and the sum of their squared differences from it.
struct Moments {
  float count, mean, squares;
};
__device__ inline Moments merged(const Moments& a, const Moments& b) {
  const float count = a.count + b.count;
  if (count == 0.f) return a;
  const float d = b.mean - a.mean, share = fast_divide(b.count, count);
  return {count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share};
}
__device__ inline Moments merged_of_warp(Moments m) {
  for (int mask = 16; mask > 0; mask /= 2)
    m = merged(m, Moments{shuffle_xor(m.count, mask), shuffle_xor(m.mean, mask), shuffle_xor(m.squares, mask)});
  return m;
}

// A block a chunk (x) of an image (y). Shared: mean and squares of each channel, for each of the threads that share its pixels. Sums are of
// differences from a channel's first pixel, so that a large mean costs no digits.
template <class T>
__device__ void group_norm_moments(const GroupNormArguments& a) {
  const int vectors = (a.channels + 7) / 8, threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const int shares = vectors < threads ? threads / vectors : 1, share = vectors < threads ? thread / vectors : 0;
  const long long first = blockIdx.x * a.chunk_pixels, rest = a.pixels - first, pixels = rest < a.chunk_pixels ? rest : a.chunk_pixels;
  const auto pixels_of = [&](int s) { return static_cast<float>((pixels - s + shares - 1) / shares); };
  float* const shared = reinterpret_cast<float*>(shared_memory());
  if (share < shares) {
    for (int v = vectors < threads ? thread % vectors : thread; v < vectors; v += threads) {
      const int c = v * 8, n = a.channels - c < 8 ? a.channels - c : 8;
      const T* const in = static_cast<const T*>(a.x) + (blockIdx.y * a.pixels + first) * a.channels + c;
      float origin[8], sum[8] = {}, squares[8] = {};
      load(in, n, origin);
      for (long long p = share; p < pixels; p += shares) {
        float x[8];
        load(in + p * a.channels, n, x);
        UNROLL
        for (int i = 0; i < 8; ++i) {
          const float d = x[i] - origin[i];
          sum[i] += d;
          squares[i] += d * d;
        }
      }
      const float count = pixels_of(share);
      UNROLL
      for (int i = 0; i < 8; ++i) {
        if (i >= n) continue;
        const float mean = count > 0.f ? fast_divide(sum[i], count) : 0.f;
        shared[2 * (share * a.channels + c + i)] = origin[i] + mean;
        shared[2 * (share * a.channels + c + i) + 1] = fmaxf(0.f, squares[i] - sum[i] * mean);
      }
    }
  }
  __syncthreads();
  const int width = a.channels / a.groups;
  for (int g = thread / 32; g < a.groups; g += threads / 32) {
    Moments m{0.f, 0.f, 0.f};
    for (int i = thread % 32; i < width * shares; i += 32) {
      const int s = i / width, at = 2 * (s * a.channels + g * width + i % width);
      m = merged(m, Moments{pixels_of(s), shared[at], shared[at + 1]});
    }
    m = merged_of_warp(m);
    float* const out = a.partial + ((static_cast<long long>(blockIdx.y) * a.chunks + blockIdx.x) * a.groups + g) * 3;
    if (thread % 32 == 0) {
      out[0] = m.count;
      out[1] = m.mean;
      out[2] = m.squares;
    }
  }
}

// The same grid. Shared: mean, factor and bias of each channel. W: of weight and bias.
template <class T, class W>
__device__ void group_norm_apply(const GroupNormArguments& a) {
  const int vectors = (a.channels + 7) / 8, threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x),
            width = a.channels / a.groups;
  float* const means = reinterpret_cast<float*>(shared_memory());
  float* const factors = means + a.channels;
  float* const biases = factors + a.channels;
  for (int g = thread / 32; g < a.groups; g += threads / 32) {
    Moments m{0.f, 0.f, 0.f};
    for (int chunk = thread % 32; chunk < a.chunks; chunk += 32) {
      const float* const part = a.partial + ((static_cast<long long>(blockIdx.y) * a.chunks + chunk) * a.groups + g) * 3;
      m = merged(m, Moments{part[0], part[1], part[2]});
    }
    m = merged_of_warp(m);
    const float factor = rsqrtf(fast_divide(m.squares, m.count) + a.eps);
    for (int c = g * width + thread % 32; c < (g + 1) * width; c += 32) {
      means[c] = m.mean;
      factors[c] = factor * to_float(static_cast<const W*>(a.weight)[c]);
      biases[c] = to_float(static_cast<const W*>(a.bias)[c]);
    }
  }
  __syncthreads();
  const long long first = blockIdx.x * a.chunk_pixels, rest = a.pixels - first, pixels = rest < a.chunk_pixels ? rest : a.chunk_pixels;
  const long long offset = (blockIdx.y * a.pixels + first) * a.channels;
  for (int i = thread; i < static_cast<int>(pixels) * vectors; i += threads) {
    const int c = i % vectors * 8;
    const long long at = offset + static_cast<long long>(i / vectors) * a.channels + c;
    const int n = a.channels - c < 8 ? a.channels - c : 8;
    float x[8];
    load(static_cast<const T*>(a.x) + at, n, x);
    UNROLL
    for (int k = 0; k < 8; ++k)
      if (k < n) x[k] = activated((x[k] - means[c + k]) * factors[c + k] + biases[c + k], a.act);
    store(x, n, static_cast<T*>(a.y) + at);
  }
}

}  // namespace vivace::cuda
