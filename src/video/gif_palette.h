// The 256 colours that a GIF's frames share, and frames drawn with them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace vivace {

class GifPalette {
 public:
  // Of so many frames of 8-bit RGB: the colours are cut into 256 boxes, the one that spreads most first, each then shown as its mean.
  static GifPalette of(int frames, const std::function<std::vector<uint8_t>(int frame)>& pixels);

  // 0xAARRGGBB, opaque.
  const std::array<uint32_t, 256>& colours() const { return colours_; }
  // Indices of the colours to rows of `width` pixels, `stride` bytes apart. Where the palette lacks a colour, a fixed pattern of its neighbours
  // shows it (ordered dithering): what does not move stays as it is from frame to frame.
  void draw(const std::vector<uint8_t>& rgb, int width, uint8_t* indices, int stride);

 private:
  uint8_t nearest(int r, int g, int b);

  std::array<uint32_t, 256> colours_{};
  int used_ = 1;                // colours
  int step_ = 0;                // typical distance of neighbours, a channel
  std::vector<int16_t> known_;  // by five bits of each channel; -1: not looked for yet
};

}  // namespace vivace
