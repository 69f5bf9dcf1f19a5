#include "image/region.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// 8-bit RGB.
struct Canvas {
  int height, width;
  std::vector<uint8_t> rgb;
  Canvas(int h, int w) : height(h), width(w), rgb(static_cast<size_t>(h) * static_cast<size_t>(w) * 3) {}
  uint8_t* at(int y, int x) { return rgb.data() + (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3; }

  // What of the picture lies on the canvas.
  void paste(const Image& image, int left, int top) {
    const std::vector<uint8_t> pixels = image.pixels();
    const int first = std::max(left, 0), end = std::min(left + image.width(), width);
    if (first >= end) return;
    for (int y = std::max(top, 0); y < std::min(top + image.height(), height); ++y)
      std::memcpy(at(y, first),
                  pixels.data() + (static_cast<size_t>(y - top) * static_cast<size_t>(image.width()) + static_cast<size_t>(first - left)) * 3,
                  static_cast<size_t>(end - first) * 3);
  }
  Image image() const { return Image::from_pixels(height, width, rgb); }
};

double ratio(int width, int height) { return static_cast<double>(width) / height; }

// A side that grows or shrinks as another does, from `from` to `to`.
int scaled(int side, int to, int from) {
  const int64_t result = int64_t{side} * to / from;
  if (result > std::numeric_limits<int>::max())
    throw UsageError(cat("a picture of ", result, " pixels in length: it does not fit its region's shape"));
  return static_cast<int>(result);
}

// The larger or the smaller of the two sizes that keep the picture's shape.
struct Fitted {
  int height, width;
};
Fitted inside(const Image& image, int height, int width) {
  const double wanted = ratio(width, height), own = ratio(image.width(), image.height());
  return {wanted >= own ? height : scaled(image.height(), width, image.width()),
          wanted < own ? width : scaled(image.width(), height, image.height())};
}
Fitted around(const Image& image, int height, int width) {
  const double wanted = ratio(width, height), own = ratio(image.width(), image.height());
  return {wanted <= own ? height : scaled(image.height(), width, image.width()),
          wanted > own ? width : scaled(image.width(), height, image.height())};
}

unsigned divided_by_255(unsigned x) { return ((x >> 8) + x) >> 8; }

// Widens [from, to) by `more` pixels, half on each side, moved and then cut so that it lies in [0, size).
void widen(int& from, int& to, int more, int size) {
  from -= more / 2;
  to += more - more / 2;
  if (to >= size) from -= to - size, to = size;
  if (from < 0) to -= from, from = 0;
  to = std::min(to, size);
}

}  // namespace

std::vector<uint8_t> grayscale(const Image& image) {
  const std::vector<uint8_t> rgb = image.pixels();
  std::vector<uint8_t> gray(rgb.size() / 3);
  for (size_t i = 0; i < gray.size(); ++i)
    gray[i] = static_cast<uint8_t>((rgb[3 * i] * 19595u + rgb[3 * i + 1] * 38470u + rgb[3 * i + 2] * 7471u + 0x8000u) >> 16);
  return gray;
}

Box crop_region(const Image& mask, int height, int width, int padding) {
  const std::vector<uint8_t> gray = grayscale(mask);
  const int h = mask.height(), w = mask.width();
  Box box{w, h, 0, 0};
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      if (gray[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)] == 0) continue;
      box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x + 1), std::max(box.bottom, y + 1)};
    }
  if (box.right == 0) throw UsageError("mask_image is black everywhere: expected white where the picture is to be repainted");
  box = {std::max(box.left - padding, 0), std::max(box.top - padding, 0), std::min(box.right + padding, w), std::min(box.bottom + padding, h)};
  const double wanted = ratio(width, height);
  if (ratio(box.width(), box.height()) > wanted)
    widen(box.top, box.bottom, static_cast<int>(box.width() / wanted - box.height()), h);
  else
    widen(box.left, box.right, static_cast<int>(box.height() * wanted - box.width()), w);
  return box;
}

Image cropped(const Image& image, const Box& region) {
  Canvas canvas(region.height(), region.width());
  canvas.paste(image, -region.left, -region.top);
  return canvas.image();
}

Image resized_to_fill(const Image& image, int height, int width) {
  const Fitted size = inside(image, height, width);
  const Image resized = image.resized(size.height, size.width);
  Canvas canvas(height, width);
  const int left = width / 2 - size.width / 2, top = height / 2 - size.height / 2;
  canvas.paste(resized, left, top);
  const double wanted = ratio(width, height), own = ratio(image.width(), image.height());
  const auto edge = [&](int h, int w, const Box& box) { return resample(resized, h, w, Filter::bicubic, box); };
  if (wanted < own && top > 0) {
    canvas.paste(edge(top, width, {0, 0, width, 0}), 0, 0);
    canvas.paste(edge(top, width, {0, size.height, width, size.height}), 0, top + size.height);
  } else if (wanted > own && left > 0) {
    canvas.paste(edge(height, left, {0, 0, 0, height}), 0, 0);
    canvas.paste(edge(height, left, {size.width, 0, size.width, height}), left + size.width, 0);
  }
  return canvas.image();
}

Image overlaid(const Image& original, const Image& mask, const Image& painted, const Box& region) {
  // Around a narrow region it may be a thousand times as large as what is seen of it.
  const Fitted size = around(painted, region.height(), region.width());
  const int left = size.width / 2 - region.width() / 2, top = size.height / 2 - region.height() / 2;
  const Box seen{left, top, left + region.width(), top + region.height()};
  Canvas canvas(original.height(), original.width());
  canvas.paste(resample(painted, size.height, size.width, Filter::lanczos, {0, 0, painted.width(), painted.height()}, seen), region.left, region.top);
  const std::vector<uint8_t> gray = grayscale(mask), above = original.pixels();
  for (size_t i = 0; i < gray.size(); ++i) {
    const unsigned alpha = 255u - gray[i];
    if (alpha == 0) continue;
    // alpha_composite over an opaque picture; the colours above were multiplied by alpha and divided by it again, each time in 8 bits.
    constexpr unsigned kBits = 7;
    const unsigned coefficient = alpha << kBits, other = (255u << kBits) - coefficient;
    for (size_t c = 0; c < 3; ++c) {
      unsigned colour = above[3 * i + c];
      if (alpha != 255) colour = std::min(255u, 255u * divided_by_255(colour * alpha + 128) / alpha);
      uint8_t& under = canvas.rgb[3 * i + c];
      under = static_cast<uint8_t>(divided_by_255(colour * coefficient + under * other + (0x80u << kBits)) >> kBits);
    }
  }
  return canvas.image();
}

}  // namespace vivace
