#include "families/common/inpainting.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "families/common/pictures.h"
#include "image/region.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr uint8_t kHalf = 128;  // of a mask's grey: painted from here on
constexpr int kMaxPadding = 1 << 16;

Box region_of(const Call& call) {
  return crop_region(call.options.mask_image.images.front(), static_cast<int>(call.height), static_cast<int>(call.width),
                     *call.options.padding_mask_crop);
}

struct Prepared {
  std::vector<Tensor> samples;              // of the pictures, [1, 3, H, W]
  std::vector<std::vector<uint8_t>> masks;  // [H, W], 1 where it is painted
};

Prepared prepare(const Call& call) {
  Prepared result;
  for (const Image& image : call.options.image.images) result.samples.push_back(to_sample(fitted(call, image), call.height, call.width));
  for (const Image& mask : call.options.mask_image.images) {
    std::vector<uint8_t> painted = grayscale(fitted(call, mask));
    for (uint8_t& x : painted) x = x >= kHalf;
    result.masks.push_back(std::move(painted));
  }
  return result;
}

// The masks at the latents' size, [N, 1, h, w]: the first pixel of each square.
Tensor latent_masks(const std::vector<std::vector<uint8_t>>& masks, int64_t height, int64_t width, int64_t scale) {
  Tensor result({static_cast<int64_t>(masks.size()), 1, height, width}, DType::float32);
  float* to = result.as<float>();
  for (const auto& mask : masks)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) *to++ = mask[static_cast<size_t>(y * scale * width * scale + x * scale)];
  return result;
}

// The pictures, black (0 in -1..1) where they are painted over; as many as there are pictures or masks.
std::vector<Tensor> masked(const Prepared& prepared) {
  std::vector<Tensor> result;
  for (size_t n = 0; n < std::max(prepared.samples.size(), prepared.masks.size()); ++n) {
    Tensor sample = prepared.samples[n % prepared.samples.size()].clone();
    const auto& mask = prepared.masks[n % prepared.masks.size()];
    for (int64_t i = 0; i < sample.numel(); ++i)
      if (mask[static_cast<size_t>(i) % mask.size()]) sample.as<float>()[i] = 0;
    result.push_back(std::move(sample));
  }
  return result;
}

Tensor scaled(Tensor latents, const LatentFormat& format) {
  for (float& x : latents.floats()) x *= static_cast<float>(format.scaling_factor);
  return latents;
}

// [N, A, h, w] and [N, B, h, w] -> [N, A + B, h, w].
Tensor join_channels(const Tensor& a, const Tensor& b) {
  const int64_t images = a.dim(0), one = a.numel() / images, other = b.numel() / images;
  Tensor out({images, a.dim(1) + b.dim(1), a.dim(2), a.dim(3)}, DType::float32);
  for (int64_t n = 0; n < images; ++n) {
    std::copy_n(a.as<float>() + n * one, one, out.as<float>() + n * (one + other));
    std::copy_n(b.as<float>() + n * other, other, out.as<float>() + n * (one + other) + one);
  }
  return out;
}

}  // namespace

Image fitted(const Call& call, const Image& image) {
  const auto height = static_cast<int>(call.height), width = static_cast<int>(call.width);
  if (call.options.padding_mask_crop) return resized_to_fill(cropped(image, region_of(call)), height, width);
  return image.height() == height && image.width() == width ? image : image.resized(height, width);
}

void check_inpainting(const Call& call, bool reads_mask, const LatentFormat& format) {
  const CallOptions& o = call.options;
  const int64_t h = call.height / format.scale, w = call.width / format.scale;
  check_input(o.image, "image", call.images, format.channels, h, w);
  if (o.mask_image.latents.defined()) throw UsageError("mask_image is given as latents: expected pictures");
  check_input(o.mask_image, "mask_image", call.images, 1, h, w);
  const int64_t pictures = o.image.count(), masks = o.mask_image.count();
  if (pictures != masks && pictures != 1 && masks != 1)
    throw UsageError(cat("image has ", pictures, " entries and mask_image ", masks, ": expected one of either, or as many"));
  if (o.masked_image_latents.defined()) check_input(o.masked_image_latents, "masked_image_latents", call.images, format.channels, h, w);
  if (reads_mask && o.image.latents.defined() && !o.masked_image_latents.defined())
    throw UsageError("image is given as latents: this model reads what the mask leaves of the picture: give masked_image_latents too");
  if (!o.padding_mask_crop) return;
  if (*o.padding_mask_crop < 0 || *o.padding_mask_crop > kMaxPadding)
    throw UsageError(cat("padding_mask_crop is ", *o.padding_mask_crop, ": expected 0 to ", kMaxPadding, " pixels"));
  if (o.image.latents.defined() || pictures != 1 || masks != 1) throw UsageError("padding_mask_crop takes one picture and one mask");
  if (o.output_latent) throw UsageError("padding_mask_crop makes a whole picture of the part that was made: it gives no latents");
  const Image &image = o.image.images.front(), &mask = o.mask_image.images.front();
  if (image.height() != mask.height() || image.width() != mask.width())
    throw UsageError(cat("mask_image has ", mask.width(), " x ", mask.height(), " pixels and image ", image.width(), " x ", image.height(),
                         ": padding_mask_crop takes them of one size"));
  region_of(call);  // refused where nothing is painted
}

Start start_of_inpainting(const Call& call, Conditioning& conditioning, const VAEComponent& vae, bool reads_mask, double strength,
                          const Scheduler& scheduler, const StepRange& steps, Noise& noise, Request& request) {
  const CallOptions& o = call.options;
  const LatentFormat format = vae.latents();
  const int64_t h = call.height / format.scale, w = call.width / format.scale;
  const Shape shape{call.images, format.channels, h, w};
  const bool from_noise = strength == 1;
  const Prepared prepared = prepare(call);
  // Latents of pictures: the sample of each is drawn here, in the order of the calls.
  const auto encoded = [&](const std::vector<Tensor>& samples) {
    const Autoencoder::Posterior posterior = encode_each(samples, vae, request);
    return scaled(sampled(posterior, posterior.logvar.defined() ? noise.draw_first(posterior.mean.shape()) : Tensor()), format);
  };

  Tensor picture;
  const bool is_encoded = !o.image.latents.defined() && (!reads_mask || o.denoising_start || (!o.latents.defined() && !from_noise));
  if (o.image.latents.defined()) picture = in_turns(o.image.latents.to(DType::float32), call.images);
  if (is_encoded) picture = in_turns(encoded(prepared.samples), call.images);

  Start start;
  const Tensor drawn = o.latents.defined() && !o.denoising_start ? o.latents.to(DType::float32) : noise.draw(shape);
  if (drawn.shape() != shape) throw UsageError(cat("latents have shape ", to_string(drawn.shape()), ": expected ", to_string(shape)));
  if (o.denoising_start) {
    start.latents = picture.clone();
  } else if (o.latents.defined() || from_noise) {
    start.latents = drawn.clone();
    for (float& x : start.latents.floats()) x *= scheduler.init_noise_sigma();
  } else {
    start.latents = scheduler.add_noise(picture, drawn, steps.first);
  }

  const Tensor mask = in_turns(latent_masks(prepared.masks, h, w, format.scale), call.images);
  if (reads_mask) {
    const Tensor left = o.masked_image_latents.defined() ? o.masked_image_latents.to(DType::float32) : encoded(masked(prepared));
    conditioning.beside = join_channels(mask, in_turns(left, call.images));
    return start;
  }
  // Diffusers encodes what the mask leaves here too, and uses it for nothing; what that draws is drawn, so that later draws are its.
  if (is_encoded && !o.masked_image_latents.defined() && vae.draws_samples())
    noise.draw_first({static_cast<int64_t>(std::max(prepared.samples.size(), prepared.masks.size())), format.channels, h, w});
  start.kept = {picture, drawn, mask};
  return start;
}

Image whole_picture(const Call& call, const Image& made) {
  return overlaid(call.options.image.images.front(), call.options.mask_image.images.front(), made, region_of(call));
}

}  // namespace vivace
