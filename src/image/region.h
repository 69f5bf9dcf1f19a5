// The part of a picture that is repainted at the model's own size (padding_mask_crop), and back: Diffusers' VaeImageProcessor on 8-bit pictures, to
// the bit.
#pragma once

#include <cstdint>
#include <vector>

#include "image/resample.h"

namespace vivace {

// Pillow's convert("L"), a byte a pixel.
std::vector<uint8_t> grayscale(const Image& image);

// get_crop_region: around all that is not black in the mask, `padding` pixels more, then in the shape of height x width as far as the picture has
// room. Throws UsageError where all is black.
Box crop_region(const Image& mask, int height, int width, int padding);

Image cropped(const Image& image, const Box& region);

// resize_mode "fill": all of the picture, its edges repeated beside it.
Image resized_to_fill(const Image& image, int height, int width);

// apply_overlay: `painted` (resized and cropped to the region) under `original`, which is seen where the mask is black.
Image overlaid(const Image& original, const Image& mask, const Image& painted, const Box& region);

}  // namespace vivace
