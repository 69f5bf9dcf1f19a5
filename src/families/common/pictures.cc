#include "families/common/pictures.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

namespace {

// -1..1 -> 0..1.
void to_colours(Tensor& values, const std::string& vae_folder) {
  for (float& x : values.floats()) {
    if (!std::isfinite(x)) throw UserError("the VAE gave a NaN or an infinity, in float32 too: check the weights in " + vae_folder);
    x = std::clamp(x / 2 + 0.5f, 0.f, 1.f);
  }
}

}  // namespace

Image to_image(const Tensor& sample, const std::string& vae_folder) {
  Tensor values = nchw_to_nhwc(sample).reshape({sample.dim(2), sample.dim(3), sample.dim(1)});
  to_colours(values, vae_folder);
  return Image::from_tensor(values);
}

Video to_video(const Tensor& sample, const std::string& vae_folder) {
  const int64_t frames = sample.dim(2), height = sample.dim(3), width = sample.dim(4);
  // Its frames are as many times as many rows.
  Tensor values = nchw_to_nhwc(sample.reshape({1, sample.dim(1), frames * height, width})).reshape({frames, height, width, sample.dim(1)});
  to_colours(values, vae_folder);
  return Video::from_tensor(values);
}

std::vector<Image> decode_each(int64_t images, const std::function<Tensor(int64_t)>& latents_of, const VAEComponent& vae,
                               const std::string& vae_folder, Request& request) {
  std::vector<Image> pictures;
  for (int64_t n = 0; n < images; ++n) pictures.push_back(to_image(vae.decode(latents_of(n), request), vae_folder));
  return pictures;
}

void add_needs(std::vector<SessionNeed>& needs, std::vector<GraphRequest> requests, Stage stage) {
  for (GraphRequest& request : requests) needs.push_back({"vae", std::move(request), stage});
}

Image blank_picture(int64_t height, int64_t width) {
  if (height < 1 || width < 1) throw UsageError(cat("a picture of ", width, " x ", height, ": expected a positive height and width"));
  return Image::from_tensor(Tensor::full({height, width, 3}, 1));
}

Tensor to_values(const Image& image, int64_t height, int64_t width) {
  const Image sized = image.height() == height && image.width() == width ? image : image.resized(static_cast<int>(height), static_cast<int>(width));
  return nhwc_to_nchw(sized.tensor().reshape({1, height, width, 3}));
}

Tensor to_sample(const Image& image, int64_t height, int64_t width) {
  Tensor sample = to_values(image, height, width);
  for (float& x : sample.floats()) x = 2 * x - 1;
  return sample;
}

Tensor to_sample(const Video& video, int64_t height, int64_t width) {
  const int64_t frames = video.frames(), plane = height * width;
  Tensor sample({1, 3, frames, height, width}, DType::float32);
  for (int64_t f = 0; f < frames; ++f) {
    const Tensor frame = to_sample(video.frame(static_cast<int>(f)), height, width);
    for (int64_t c = 0; c < 3; ++c) std::copy_n(frame.as<float>() + c * plane, plane, sample.as<float>() + (c * frames + f) * plane);
  }
  return sample;
}

}  // namespace vivace
