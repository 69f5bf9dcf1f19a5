// Image::blurred: Pillow's GaussianBlur, to the bit: three box blurs of a fractional radius in each direction, with 8 bits between them.
#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "vivace/error.h"
#include "vivace/image.h"

namespace vivace {
namespace {

constexpr int kPasses = 3, kBlurPrecision = 24;
// A picture has at most 2^16 pixels a side.
constexpr double kMaxRadius = 1 << 16;

// The radius of a box that, applied so many times, blurs as a Gaussian of this deviation (https://doi.org/10.1007/978-3-642-24785-9_38).
float box_radius(float deviation) {
  const float variance = deviation * deviation / kPasses, length = static_cast<float>(std::sqrt(12.0 * variance + 1.0)),
              whole = std::floor((length - 1) / 2);
  const float a = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) * (whole + 1)));
  return whole + a;
}

// `length` pixels `step` bytes apart; `line` holds as many.
void box_blur(uint8_t* pixels, size_t length, size_t step, float radius, std::vector<uint8_t>& line) {
  const auto whole = static_cast<int64_t>(radius);
  const auto ww = static_cast<uint32_t>((1 << kBlurPrecision) / (radius * 2 + 1)),
             fw = static_cast<uint32_t>(((1 << kBlurPrecision) - (whole * 2 + 1) * static_cast<int64_t>(ww)) / 2);
  const auto last = static_cast<int64_t>(length) - 1;
  const auto at = [&](int64_t i) { return uint32_t{pixels[static_cast<size_t>(std::clamp<int64_t>(i, 0, last)) * step]}; };
  uint32_t sum = 0;
  for (int64_t i = -whole; i <= whole; ++i) sum += at(i);
  for (int64_t x = 0; x <= last; ++x) {
    line[static_cast<size_t>(x)] =
        static_cast<uint8_t>((sum * ww + (at(x - whole - 1) + at(x + whole + 1)) * fw + (1u << (kBlurPrecision - 1))) >> kBlurPrecision);
    sum += at(x + whole + 1) - at(x - whole);
  }
  for (size_t x = 0; x < length; ++x) pixels[x * step] = line[x];
}

}  // namespace

Image Image::blurred(double radius) const {
  if (!(radius >= 0 && radius <= kMaxRadius)) throw UsageError(cat("a blur of radius ", radius, ": expected 0 to ", kMaxRadius));
  if (empty()) throw UsageError("an empty picture cannot be blurred");
  std::vector<uint8_t> rgb = pixels();
  const float box = box_radius(static_cast<float>(radius));
  const auto h = static_cast<size_t>(height()), w = static_cast<size_t>(width());
  std::vector<uint8_t> line(std::max(h, w));
  for (int pass = 0; radius > 0 && pass < kPasses; ++pass)
    for (size_t y = 0; y < h; ++y)
      for (size_t c = 0; c < 3; ++c) box_blur(rgb.data() + y * w * 3 + c, w, 3, box, line);
  for (int pass = 0; radius > 0 && pass < kPasses; ++pass)
    for (size_t x = 0; x < w; ++x)
      for (size_t c = 0; c < 3; ++c) box_blur(rgb.data() + x * 3 + c, h, 3 * w, box, line);
  return from_pixels(height(), width(), rgb);
}

}  // namespace vivace
