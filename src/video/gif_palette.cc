#include "video/gif_palette.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace vivace {
namespace {

constexpr int kBits = 5, kSide = 1 << kBits, kCells = kSide * kSide * kSide;

size_t cell_of(int r, int g, int b) {
  return static_cast<size_t>((r >> (8 - kBits)) << (2 * kBits) | (g >> (8 - kBits)) << kBits | b >> (8 - kBits));
}

// All pixels of one cell of the colour cube.
struct Cell {
  double count = 0, sum[3] = {};
  double mean(int channel) const { return sum[channel] / count; }
};

// Cells [begin, end) of the list.
struct Box {
  size_t begin = 0, end = 0;
  int channel = 0;    // that spreads most
  double spread = 0;  // its sum of squared deviations
  double center = 0;
};

Box measured(const std::vector<Cell>& cells, size_t begin, size_t end) {
  Box box{begin, end};
  for (int channel = 0; channel < 3; ++channel) {
    double count = 0, sum = 0, squares = 0;
    for (size_t i = begin; i < end; ++i) {
      const double x = cells[i].mean(channel);
      count += cells[i].count, sum += cells[i].count * x, squares += cells[i].count * x * x;
    }
    const double spread = squares - sum * sum / count;
    if (spread > box.spread) box.channel = channel, box.spread = spread, box.center = sum / count;
  }
  return box;
}

}  // namespace

GifPalette GifPalette::of(int frames, const std::function<std::vector<uint8_t>(int frame)>& pixels) {
  std::vector<Cell> cells(kCells);
  for (int frame = 0; frame < frames; ++frame) {
    const std::vector<uint8_t> rgb = pixels(frame);
    for (size_t i = 0; i + 2 < rgb.size(); i += 3) {
      Cell& cell = cells[cell_of(rgb[i], rgb[i + 1], rgb[i + 2])];
      cell.count += 1;
      for (size_t channel = 0; channel < 3; ++channel) cell.sum[channel] += rgb[i + channel];
    }
  }
  std::erase_if(cells, [](const Cell& cell) { return cell.count == 0; });

  GifPalette palette;
  palette.known_.assign(kCells, -1);
  if (cells.empty()) return palette;
  std::vector<Box> boxes{measured(cells, 0, cells.size())};
  while (boxes.size() < palette.colours_.size()) {
    const auto widest = std::ranges::max_element(boxes, {}, &Box::spread);
    if (!(widest->spread > 0)) break;
    const Box box = *widest;
    const auto middle = std::partition(cells.begin() + static_cast<std::ptrdiff_t>(box.begin), cells.begin() + static_cast<std::ptrdiff_t>(box.end),
                                       [&](const Cell& cell) { return cell.mean(box.channel) <= box.center; });
    const auto at = static_cast<size_t>(middle - cells.begin());
    if (at == box.begin || at == box.end) {  // equal but for rounding
      widest->spread = 0;
      continue;
    }
    *widest = measured(cells, box.begin, at);
    boxes.push_back(measured(cells, at, box.end));
  }
  palette.used_ = static_cast<int>(boxes.size());
  for (size_t i = 0; i < palette.colours_.size(); ++i) {
    Cell all;
    const Box& box = boxes[std::min(i, boxes.size() - 1)];
    for (size_t c = box.begin; c < box.end; ++c) {
      all.count += cells[c].count;
      for (int channel = 0; channel < 3; ++channel) all.sum[channel] += cells[c].sum[channel];
    }
    uint32_t colour = 0xff;
    for (int channel = 0; channel < 3; ++channel) colour = colour << 8 | static_cast<uint32_t>(std::lround(all.mean(channel)));
    palette.colours_[i] = colour;
  }
  double spread = 0, count = 0;
  for (const Box& box : boxes) spread += box.spread;
  for (const Cell& cell : cells) count += cell.count;
  palette.step_ = static_cast<int>(std::lround(2 * std::sqrt(spread / count)));
  return palette;
}

uint8_t GifPalette::nearest(int r, int g, int b) {
  int16_t& known = known_[cell_of(r, g, b)];
  if (known >= 0) return static_cast<uint8_t>(known);
  int best = 0, least = INT32_MAX;
  for (int i = 0; i < used_; ++i) {
    const uint32_t c = colours_[static_cast<size_t>(i)];
    const int dr = r - static_cast<int>(c >> 16 & 0xff), dg = g - static_cast<int>(c >> 8 & 0xff), db = b - static_cast<int>(c & 0xff);
    const int distance = dr * dr + dg * dg + db * db;
    if (distance < least) least = distance, best = i;
  }
  known = static_cast<int16_t>(best);
  return static_cast<uint8_t>(best);
}

void GifPalette::draw(const std::vector<uint8_t>& rgb, int width, uint8_t* indices, int stride) {
  static constexpr int kPattern[4][4] = {{0, 8, 2, 10}, {12, 4, 14, 6}, {3, 11, 1, 9}, {15, 7, 13, 5}};
  const int height = static_cast<int>(rgb.size()) / (3 * width);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const uint8_t* pixel = rgb.data() + 3 * (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x));
      const int shift = step_ * (2 * kPattern[y % 4][x % 4] - 15) / 32;
      const auto shifted = [&](int channel) { return std::clamp(pixel[channel] + shift, 0, 255); };
      indices[static_cast<std::ptrdiff_t>(y) * stride + x] = nearest(shifted(0), shifted(1), shifted(2));
    }
}

}  // namespace vivace
