#include "backends/cpu/kernels/norm/norm.h"

#include <algorithm>

#include "backends/cpu/kernels/norm/moments.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {
namespace {

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

int64_t all_rows(const RowNorm& norm, bool rms, const RowOutput& y, Stop stop) {
  return split_rows(norm.rows, norm.heads * norm.channels, stop, [&](int64_t begin, int64_t end) {
    if (norm.heads == 1 && norm.rotation.table == nullptr) return each_image(norm, rms, y, begin, end);
    norm_kernels().head_norm(norm, rms, y, begin, end);
    return kNoBadRow;
  });
}

}  // namespace

void group_norm(const GroupNorm& norm, Act act, const RowOutput& y, Stop stop) noexcept {
  if (norm.groups > kPartials) {
    const int64_t size = norm.channels / norm.groups;
    for (int64_t g = 0; g < norm.groups; g += kPartials) {
      GroupNorm slice = norm;
      slice.groups = std::min(kPartials, norm.groups - g);
      slice.channels = slice.groups * size;
      slice.x = at_row(norm.x, 0, g * size);
      if (norm.gamma) slice.gamma = norm.gamma + g * size;
      if (norm.beta) slice.beta = norm.beta + g * size;
      group_norm(slice, act, at_row(y, 0, g * size), stop);
    }
    return;
  }
  if (split_image(norm)) {
    for (int64_t image = 0; image < norm.images && !stopped(stop); ++image) {
      with_shared_moments(norm, image, [&](const auto& moments_of) {
        share_rows(norm.pixels, norm.channels, stop,
                   [&](int64_t begin, int64_t end) { apply_rows(norm, act, y, image * norm.pixels + begin, image * norm.pixels + end, moments_of); });
      });
    }
    return;
  }
  parallel_for(norm.images, grain_rows(norm.pixels * norm.channels), [&](int64_t begin, int64_t end) {
    Moments moments[kPartials];
    for (int64_t image = begin; image < end && !stopped(stop); ++image) {
      group_moments(norm, image * norm.pixels, norm.pixels, [&](int64_t g, const Moments& m) { moments[g] = m; });
      apply_rows(norm, act, y, image * norm.pixels, (image + 1) * norm.pixels, [&](int64_t g) -> const Moments& { return moments[g]; });
    }
  });
}

int64_t layer_norm(const RowNorm& norm, const RowOutput& y, Stop stop) noexcept { return all_rows(norm, false, y, stop); }
int64_t rms_norm(const RowNorm& norm, const RowOutput& y, Stop stop) noexcept { return all_rows(norm, true, y, stop); }

void rotate(const RowInput& x, int64_t rows, int64_t heads, int64_t channels, const Rotation& rotation, const RowOutput& y, Stop stop) noexcept {
  share_rows(rows, heads * channels, stop, [&](int64_t begin, int64_t end) {
    for (int64_t h = 0; h < heads; ++h) norm_kernels().rotate(at_row(x, 0, h * channels), channels, rotation, at_row(y, 0, h * channels), begin, end);
  });
}

}  // namespace vivace::cpu
