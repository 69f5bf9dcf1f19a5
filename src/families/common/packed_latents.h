// FLUX's tokens: 2 x 2 patches of latents.
#pragma once

#include "vivace/tensor.h"

namespace vivace {

// float32 [N, C, h, w], h and w even -> [N, h/2 * w/2, 4 C], features in the order (C, row, column).
Tensor pack_latents(const Tensor& latents);
// The reverse; `height` and `width` of the result.
Tensor unpack_latents(const Tensor& packed, int64_t height, int64_t width);
// float32 [height * width, 3]: (first, row, column) of each token.
Tensor latent_image_ids(int64_t height, int64_t width, float first = 0);

}  // namespace vivace
