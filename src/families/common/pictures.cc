#include "families/common/pictures.h"

#include <algorithm>
#include <cmath>

#include "vivace/error.h"

namespace vivace {

Image to_image(const Tensor& sample, const std::string& vae_folder) {
  Tensor values = nchw_to_nhwc(sample).reshape({sample.dim(2), sample.dim(3), sample.dim(1)});
  for (float& x : values.floats()) {
    if (!std::isfinite(x)) throw UserError("the VAE gave a NaN or an infinity, in float32 too: check the weights in " + vae_folder);
    x = std::clamp(x / 2 + 0.5f, 0.f, 1.f);
  }
  return Image::from_tensor(values);
}

}  // namespace vivace
