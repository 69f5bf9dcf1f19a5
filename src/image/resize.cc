// Image::resized: Pillow's Image.resize of 8-bit pictures with LANCZOS, to the bit: fixed-point weights, and 8 bits between the two directions.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/log.h"
#include "vivace/error.h"
#include "vivace/image.h"

namespace vivace {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits behind the point of a weight
constexpr double kSupport = 3;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }
double lanczos(double x) { return -kSupport <= x && x < kSupport ? sinc(x) * sinc(x / kSupport) : 0; }

// What a pixel of the result takes from the source: weights from pixel `first` on.
struct Window {
  int first = 0;
  std::vector<int> weights;
};

std::vector<Window> windows(int from, int to) {
  const double scale = static_cast<double>(from) / to, stretch = std::max(scale, 1.), support = kSupport * stretch;
  std::vector<Window> result(static_cast<size_t>(to));
  for (int x = 0; x < to; ++x) {
    const double center = (x + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5)), last = std::min(from, static_cast<int>(center + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int i = first; i < last; ++i) {
      weights.push_back(lanczos((i - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    Window& window = result[static_cast<size_t>(x)];
    window.first = first;
    for (double w : weights) {
      if (sum != 0) w /= sum;
      window.weights.push_back(static_cast<int>((w < 0 ? -0.5 : 0.5) + w * (1 << kPrecision)));
    }
  }
  return result;
}

uint8_t rounded(int sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

// Lines of `length` pixels of three channels, `step` bytes between pixels and `line` between lines, resampled along the line.
void resample(const uint8_t* from, uint8_t* to, int lines, size_t from_step, size_t from_line, size_t to_step, size_t to_line,
              const std::vector<Window>& all) {
  for (int l = 0; l < lines; ++l)
    for (size_t x = 0; x < all.size(); ++x)
      for (size_t c = 0; c < 3; ++c) {
        const Window& window = all[x];
        int sum = 1 << (kPrecision - 1);
        for (size_t i = 0; i < window.weights.size(); ++i)
          sum += from[static_cast<size_t>(l) * from_line + (static_cast<size_t>(window.first) + i) * from_step + c] * window.weights[i];
        to[static_cast<size_t>(l) * to_line + x * to_step + c] = rounded(sum);
      }
}

}  // namespace

Image Image::resized(int height, int width) const {
  if (height < 1 || width < 1) throw UsageError(cat("a picture of ", height, " x ", width, ": expected at least one pixel"));
  if (empty()) throw UsageError("an empty picture cannot be resized");
  std::vector<uint8_t> rgb = pixels();
  const auto h = static_cast<size_t>(this->height()), w = static_cast<size_t>(this->width()), to_w = static_cast<size_t>(width);
  if (to_w != w) {
    std::vector<uint8_t> wide(h * to_w * 3);
    resample(rgb.data(), wide.data(), this->height(), 3, 3 * w, 3, 3 * to_w, windows(this->width(), width));
    rgb = std::move(wide);
  }
  if (static_cast<size_t>(height) != h) {
    std::vector<uint8_t> tall(static_cast<size_t>(height) * to_w * 3);
    resample(rgb.data(), tall.data(), width, 3 * to_w, 3, 3 * to_w, 3, windows(this->height(), height));
    rgb = std::move(tall);
  }
  return from_pixels(height, width, rgb);
}

}  // namespace vivace
