// Image::resized, and Pillow's filters behind it.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/log.h"
#include "image/resample.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits behind the point of a weight

double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }
double lanczos(double x) { return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0; }
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

struct Kernel {
  double (*weight)(double);
  double support;
};
Kernel kernel_of(Filter filter) { return filter == Filter::lanczos ? Kernel{lanczos, 3} : Kernel{bicubic, 2}; }

// What a pixel of the result takes from the source: weights from pixel `first` on.
struct Window {
  int first = 0;
  std::vector<int> weights;
};

// Of a line of `length` pixels, of which [begin, end) becomes `to`: those of the pixels [seen_begin, seen_end) of these.
std::vector<Window> windows(int length, int begin, int end, int to, int seen_begin, int seen_end, const Kernel& kernel) {
  const double scale = static_cast<double>(end - begin) / to, stretch = std::max(scale, 1.), support = kernel.support * stretch;
  std::vector<Window> result(static_cast<size_t>(seen_end - seen_begin));
  for (int x = seen_begin; x < seen_end; ++x) {
    const double center = begin + (x + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5)), last = std::min(length, static_cast<int>(center + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int i = first; i < last; ++i) {
      weights.push_back(kernel.weight((i - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    Window& window = result[static_cast<size_t>(x - seen_begin)];
    window.first = first;
    for (double w : weights) {
      if (sum != 0) w /= sum;
      window.weights.push_back(static_cast<int>((w < 0 ? -0.5 : 0.5) + w * (1 << kPrecision)));
    }
  }
  return result;
}

// All that the windows take: [first, end).
struct Taken {
  int first, end;
};
Taken taken(const std::vector<Window>& all) {
  const Window& last = all.back();
  return {all.front().first, last.first + static_cast<int>(last.weights.size())};
}

uint8_t rounded(int sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

// Lines of pixels of three channels, `step` bytes between pixels and `line` between lines, resampled along the line.
void resample_lines(const uint8_t* from, uint8_t* to, int lines, size_t from_step, size_t from_line, size_t to_step, size_t to_line,
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

Image resample(const Image& image, int height, int width, Filter filter, const Box& box, const Box& seen) {
  std::vector<uint8_t> rgb = image.pixels();
  int h = image.height(), w = image.width();
  const Kernel kernel = kernel_of(filter);
  std::vector<Window> columns = windows(w, box.left, box.right, width, seen.left, seen.right, kernel),
                      rows = windows(h, box.top, box.bottom, height, seen.top, seen.bottom, kernel);
  // Each does of the lines that the other will take alone.
  const auto across = [&](const Taken& lines) {
    if (width == w && box.left == 0 && box.right == width && seen.width() == width) return;
    const auto from = 3 * static_cast<size_t>(w), to = 3 * columns.size();
    const int count = lines.end - lines.first;
    std::vector<uint8_t> wide(static_cast<size_t>(count) * to);
    resample_lines(rgb.data() + static_cast<size_t>(lines.first) * from, wide.data(), count, 3, from, 3, to, columns);
    rgb = std::move(wide);
    h = count, w = seen.width();
    for (Window& row : rows) row.first -= lines.first;
  };
  const auto down = [&](const Taken& lines) {
    if (height == h && box.top == 0 && box.bottom == height && seen.height() == height) return;
    const int count = lines.end - lines.first;
    const auto from = 3 * static_cast<size_t>(w), to = 3 * static_cast<size_t>(count);
    std::vector<uint8_t> tall(rows.size() * to);
    resample_lines(rgb.data() + 3 * static_cast<size_t>(lines.first), tall.data(), count, from, 3, to, 3, rows);
    rgb = std::move(tall);
    h = seen.height(), w = count;
    for (Window& column : columns) column.first -= lines.first;
  };
  // The order decides what is rounded. Pillow from 13 on begins with the height where it loses more than twice the pixels that the width loses.
  if (h > height && h - height > 2 * (int64_t{w} - width)) {
    down(taken(columns));
    across({0, h});
  } else {
    across(taken(rows));
    down({0, w});
  }
  return Image::from_pixels(h, w, rgb);
}

Image Image::resized(int height, int width) const {
  if (height < 1 || width < 1) throw UsageError(cat("a picture of ", height, " x ", width, ": expected at least one pixel"));
  if (empty()) throw UsageError("an empty picture cannot be resized");
  return resample(*this, height, width, Filter::lanczos, {0, 0, this->width(), this->height()});
}

}  // namespace vivace
