// The statistics of a group norm, and what they make of its weights.
#pragma once

#include <algorithm>
#include <cmath>

#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/split.h"
#include "base/parallel.h"

namespace vivace::cpu {

// Partial statistics held on the stack while an image is summed by several threads (parts x groups).
inline constexpr int64_t kPartials = 2048;

// Count, mean and sum of squared deviations; add() is the exact rule for the union of two sets (Chan et al.).
struct Moments {
  double count, mean, m2;

  void add(const Moments& other) {
    const double all = count + other.count;
    if (all == 0) return;
    const double delta = other.mean - mean, share = other.count / all;
    mean += delta * share;
    m2 += other.m2 + delta * delta * count * share;
    count = all;
  }
};

// Four partial sums: a single chain of dependent additions would take longer than the pixels of a small image.
template <class Term>
double sum_of(int64_t n, const Term& term) {
  double s[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; ++k) s[k] += term(i + k);
  for (; i < n; ++i) s[0] += term(i);
  return (s[0] + s[1]) + (s[2] + s[3]);
}

inline RowInput at_row(const RowInput& x, int64_t row, int64_t channel = 0) {
  const int64_t width = x.dtype == DType::float32 ? 4 : 2;
  return {static_cast<const char*>(x.data) + (row * x.stride + channel) * width, x.dtype, x.stride};
}

inline RowOutput at_row(const RowOutput& y, int64_t row, int64_t channel = 0) {
  const int64_t width = y.dtype == DType::float32 ? 4 : 2;
  return {static_cast<char*>(y.data) + (row * y.stride + channel) * width, y.dtype, y.stride, y.scale};
}

// The moments of every group over some pixels of one image; emit(group, moments) in the order of the groups.
template <class Emit>
void group_moments(const GroupNorm& norm, int64_t first_row, int64_t rows, const Emit& emit) {
  double mean[kChannelTile], m2[kChannelTile];
  const int64_t size = norm.channels / norm.groups;
  Moments group = {};
  for (int64_t c = 0; c < norm.channels; c += kChannelTile) {
    const int64_t n = std::min(kChannelTile, norm.channels - c);
    norm_kernels().channel_moments(at_row(norm.x, first_row, c), rows, n, mean, m2);
    for (int64_t i = 0; i < n;) {
      const int64_t g = (c + i) / size, end = std::min(n, (g + 1) * size - c), k = end - i;
      const double center = sum_of(k, [&](int64_t j) { return mean[i + j]; }) / static_cast<double>(k);
      const double spread = sum_of(k, [&](int64_t j) { return (mean[i + j] - center) * (mean[i + j] - center); });
      group.add({static_cast<double>(k * rows), center, sum_of(k, [&](int64_t j) { return m2[i + j]; }) + spread * static_cast<double>(rows)});
      i = end;
      if (c + end == (g + 1) * size) {
        emit(g, group);
        group = {};
      }
    }
  }
}

// Channels [c, c + n) of the affine map of groups whose moments are known. moments_of(g) -> Moments.
template <class MomentsOf>
void affine_map(const GroupNorm& norm, int64_t c, int64_t n, const MomentsOf& moments_of, float* scale, float* shift) {
  const int64_t size = norm.channels / norm.groups;
  for (int64_t i = 0; i < n;) {
    const int64_t g = (c + i) / size, end = std::min(n, (g + 1) * size - c);
    const Moments& m = moments_of(g);
    const double factor = 1.0 / std::sqrt(m.m2 / m.count + norm.eps);
    for (; i < end; ++i) {
      const double gamma = norm.gamma ? norm.gamma[c + i] : 1.0, beta = norm.beta ? norm.beta[c + i] : 0.0;
      scale[i] = static_cast<float>(factor * gamma);
      shift[i] = static_cast<float>(beta - m.mean * factor * gamma);
    }
  }
}

// Statistics of one image by all threads; use(moments_of) is then called once.
template <class Use>
void with_shared_moments(const GroupNorm& norm, int64_t image, const Use& use) {
  Moments partials[kPartials];
  const int64_t parts = std::clamp<int64_t>(std::min(kPartials / norm.groups, norm.pixels * norm.channels / kElementGrain), 1, num_threads());
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = norm.pixels * part / parts, last = norm.pixels * (part + 1) / parts;
      group_moments(norm, image * norm.pixels + first, last - first, [&](int64_t g, const Moments& m) { partials[part * norm.groups + g] = m; });
    }
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t g = 0; g < norm.groups; ++g) partials[g].add(partials[part * norm.groups + g]);
  use([&](int64_t g) -> const Moments& { return partials[g]; });
}

}  // namespace vivace::cpu
