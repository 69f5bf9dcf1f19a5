#include "families/common/packed_latents.h"

namespace vivace {
namespace {

// Calls move(packed index, plain index) for each value of [N, C, 2h, 2w].
template <class Move>
void each_packed(int64_t images, int64_t channels, int64_t h, int64_t w, const Move& move) {
  int64_t packed = 0;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x)
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t dy = 0; dy < 2; ++dy)
            for (int64_t dx = 0; dx < 2; ++dx) move(packed++, ((n * channels + c) * 2 * h + 2 * y + dy) * 2 * w + 2 * x + dx);
}

}  // namespace

Tensor pack_latents(const Tensor& latents) {
  const int64_t images = latents.dim(0), channels = latents.dim(1), h = latents.dim(2) / 2, w = latents.dim(3) / 2;
  Tensor packed({images, h * w, 4 * channels}, DType::float32);
  each_packed(images, channels, h, w, [&](int64_t to, int64_t from) { packed.as<float>()[to] = latents.as<float>()[from]; });
  return packed;
}

Tensor unpack_latents(const Tensor& packed, int64_t height, int64_t width) {
  const int64_t images = packed.dim(0), channels = packed.dim(2) / 4;
  Tensor latents({images, channels, height, width}, DType::float32);
  each_packed(images, channels, height / 2, width / 2, [&](int64_t from, int64_t to) { latents.as<float>()[to] = packed.as<float>()[from]; });
  return latents;
}

Tensor latent_image_ids(int64_t height, int64_t width, float first) {
  Tensor ids({height * width, 3}, DType::float32);
  float* to = ids.as<float>();
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      *to++ = first;
      *to++ = static_cast<float>(y);
      *to++ = static_cast<float>(x);
    }
  return ids;
}

}  // namespace vivace
