#include "backends/cpu/kernels/norm/moments.h"

namespace vivace::cpu {
namespace {

// One line of pixels of z, numbered through the image's frames, and all that stands over it; [c, c + n) of the channels.
struct Line {
  const GroupNorm& norm;
  const SpatialModulation& m;
  const RowOutput& y;
  Act act;
  int64_t image, line, c, n;
  const float *norm_scale, *norm_shift;

  void run() const {
    const int64_t frame = line / m.height, row = line % m.height, repeats = frame < m.apart ? 1 : (m.out_frames - m.apart) / (m.frames - m.apart);
    const int64_t first_frame = frame < m.apart ? frame : m.apart + (frame - m.apart) * repeats;
    const int64_t rows = m.out_height / m.height, cols = m.out_width / m.width;
    alignas(64) float scale[kChannelTile], shift[kChannelTile];
    for (int64_t col = 0; col < m.width; ++col) {
      const RowInput z = at_row(m.z, (image * m.frames * m.height + line) * m.width + col);
      norm_kernels().modulate(
          {z.data, z.dtype, m.inputs, norm.channels, m.scale + c, m.scale_bias + c, m.shift + c, m.shift_bias + c, norm_scale, norm_shift}, n, scale,
          shift);
      for (int64_t f = first_frame; f < first_frame + repeats; ++f)
        for (int64_t r = row * rows; r < (row + 1) * rows; ++r) {
          const int64_t pixel = ((image * m.out_frames + f) * m.out_height + r) * m.out_width + col * cols;
          norm_kernels().scale_shift(at_row(norm.x, pixel, c), cols, n, scale, shift, act, at_row(y, pixel, c));
        }
    }
  }
};

}  // namespace

void spatial_norm(const GroupNorm& norm, const SpatialModulation& m, Act act, const RowOutput& y, Stop stop) noexcept {
  const int64_t lines = m.frames * m.height;
  for (int64_t image = 0; image < norm.images && !stopped(stop); ++image)
    with_shared_moments(norm, image, [&](const auto& moments_of) {
      share_rows(lines, norm.pixels / lines * norm.channels, stop, [&](int64_t begin, int64_t end) {
        alignas(64) float scale[kChannelTile], shift[kChannelTile];
        for (int64_t c = 0; c < norm.channels; c += kChannelTile) {
          const int64_t n = std::min(kChannelTile, norm.channels - c);
          affine_map(norm, c, n, moments_of, scale, shift);
          for (int64_t line = begin; line < end; ++line) Line{norm, m, y, act, image, line, c, n, scale, shift}.run();
        }
      });
    });
}

}  // namespace vivace::cpu
