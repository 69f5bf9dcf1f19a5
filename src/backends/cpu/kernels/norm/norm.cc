#include "backends/cpu/kernels/norm/norm.h"

#include <algorithm>
#include <cmath>

#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/split.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// Partial statistics held on the stack while an image is summed by several threads (parts x groups).
constexpr int64_t kPartials = 2048;

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

RowInput at_row(const RowInput& x, int64_t row, int64_t channel = 0) {
  const int64_t width = x.dtype == DType::float32 ? 4 : 2;
  return {static_cast<const char*>(x.data) + (row * x.stride + channel) * width, x.dtype, x.stride};
}

RowOutput at_row(const RowOutput& y, int64_t row, int64_t channel = 0) {
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

// Whether an image is worth several threads; otherwise each thread takes whole images.
bool split_image(const GroupNorm& norm) {
  return num_threads() > 1 && norm.groups <= kPartials / 2 && norm.pixels * norm.channels >= 2 * kElementGrain;
}

// Rows [begin, end) of the whole tensor, with the map made anew for each tile of channels.
template <class MomentsOf>
void apply_rows(const GroupNorm& norm, Act act, const RowOutput& y, int64_t begin, int64_t end, const MomentsOf& moments_of) {
  float scale[kChannelTile], shift[kChannelTile];
  for (int64_t c = 0; c < norm.channels; c += kChannelTile) {
    const int64_t n = std::min(kChannelTile, norm.channels - c);
    affine_map(norm, c, n, moments_of, scale, shift);
    norm_kernels().scale_shift(at_row(norm.x, begin, c), end - begin, n, scale, shift, act, at_row(y, begin, c));
  }
}

// Rows [begin, end), image by image where these have weights of their own.
int64_t each_image(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end) {
  if (norm.rows_per_image == 0) return norm_kernels().row_norm(norm, rms, y, begin, end);
  int64_t bad = kNoBadRow;
  while (begin < end) {
    const int64_t image = begin / norm.rows_per_image, stop = std::min(end, (image + 1) * norm.rows_per_image);
    RowNorm part = norm;
    if (norm.gamma) part.gamma += image * norm.gamma_stride;
    if (norm.beta) part.beta += image * norm.beta_stride;
    const int64_t first = norm_kernels().row_norm(part, rms, y, begin, stop);
    if (bad == kNoBadRow) bad = first;
    begin = stop;
  }
  return bad;
}

// The rows of all heads, head by head: a thread's rows stay in its cache meanwhile.
int64_t each_head(const RowNorm& norm, bool rms, const RowOutput& y) {
  if (norm.heads == 1) return split_rows(norm.rows, norm.channels, [&](int64_t begin, int64_t end) { return each_image(norm, rms, y, begin, end); });
  return split_rows(norm.rows, norm.heads * norm.channels, [&](int64_t begin, int64_t end) {
    RowNorm head = norm;
    for (int64_t h = 0; h < norm.heads; ++h) {
      head.x = at_row(norm.x, 0, h * norm.channels);
      norm_kernels().row_norm(head, rms, at_row(y, 0, h * norm.channels), begin, end);
    }
    return kNoBadRow;
  });
}

}  // namespace

void group_norm(const GroupNorm& norm, Act act, const RowOutput& y) noexcept {
  if (norm.groups > kPartials) {
    const int64_t size = norm.channels / norm.groups;
    for (int64_t g = 0; g < norm.groups; g += kPartials) {
      GroupNorm slice = norm;
      slice.groups = std::min(kPartials, norm.groups - g);
      slice.channels = slice.groups * size;
      slice.x = at_row(norm.x, 0, g * size);
      if (norm.gamma) slice.gamma = norm.gamma + g * size;
      if (norm.beta) slice.beta = norm.beta + g * size;
      group_norm(slice, act, at_row(y, 0, g * size));
    }
    return;
  }
  if (split_image(norm)) {
    for (int64_t image = 0; image < norm.images; ++image) {
      with_shared_moments(norm, image, [&](const auto& moments_of) {
        parallel_for(norm.pixels, grain_rows(norm.channels), [&](int64_t begin, int64_t end) {
          apply_rows(norm, act, y, image * norm.pixels + begin, image * norm.pixels + end, moments_of);
        });
      });
    }
    return;
  }
  parallel_for(norm.images, grain_rows(norm.pixels * norm.channels), [&](int64_t begin, int64_t end) {
    Moments moments[kPartials];
    for (int64_t image = begin; image < end; ++image) {
      group_moments(norm, image * norm.pixels, norm.pixels, [&](int64_t g, const Moments& m) { moments[g] = m; });
      apply_rows(norm, act, y, image * norm.pixels, (image + 1) * norm.pixels, [&](int64_t g) -> const Moments& { return moments[g]; });
    }
  });
}

int64_t layer_norm(const RowNorm& norm, const RowOutput& y) noexcept { return each_head(norm, false, y); }
int64_t rms_norm(const RowNorm& norm, const RowOutput& y) noexcept { return each_head(norm, true, y); }

void rotate(const RowInput& x, int64_t rows, int64_t heads, int64_t channels, const Rotation& rotation, const RowOutput& y) noexcept {
  parallel_for(rows, grain_rows(heads * channels), [&](int64_t begin, int64_t end) {
    for (int64_t h = 0; h < heads; ++h) norm_kernels().rotate(at_row(x, 0, h * channels), channels, rotation, at_row(y, 0, h * channels), begin, end);
  });
}

}  // namespace vivace::cpu
