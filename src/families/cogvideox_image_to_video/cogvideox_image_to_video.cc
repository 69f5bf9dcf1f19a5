#include "families/cogvideox_image_to_video/cogvideox_image_to_video.h"

#include <algorithm>

#include "base/log.h"
#include "families/common/picture_start.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr float kOfs = 2;  // what the pipeline gives models that have an embedding of it

}  // namespace

CallOptions CogVideoXImageToVideoRecipe::blank_call(Size size) const {
  CallOptions options = CogVideoXRecipe::blank_call(size);
  options.image = blank_picture(size.first ? size.first : default_size().first, size.second ? size.second : default_size().second);
  return options;
}

Call CogVideoXImageToVideoRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  Call call = CogVideoXRecipe::resolve(prompt, o);
  if (o.image.empty()) throw UsageError(cat("a ", parts_.class_name, " begins with a picture: give it as image"));
  check_input(o.image, "image", call.images, format_.channels, call.height / format_.scale, call.width / format_.scale);
  return call;
}

std::vector<SessionNeed> CogVideoXImageToVideoRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = CogVideoXRecipe::sessions_for(call);
  if (!call.options.image.latents.defined()) add_needs(needs, vae_.encode_requests(1, call.height, call.width), Stage::encode);
  return needs;
}

Tensor CogVideoXImageToVideoRecipe::encoded(const Call& call, Noise& noise, Request& request) const {
  const ImageInput& image = call.options.image;
  if (image.latents.defined()) return image.latents.to(DType::float32);
  std::vector<Tensor> samples;
  for (const Tensor& sample : samples_of(call)) samples.push_back(rounded(sample).reshape({1, 3, 1, call.height, call.width}));
  Autoencoder::Posterior posterior = encode_each(samples, vae_, request);
  // Each video has a sample of its own, even of a picture that it shares: Diffusers takes a picture for every video.
  posterior = {in_turns(posterior.mean, call.images), in_turns(posterior.logvar, call.images)};
  Tensor latents = sampled(posterior, noise.draw_in_turn(posterior.mean.shape()));
  const auto factor = static_cast<float>(format_.invert_scale_latents ? 1 / format_.scaling_factor : format_.scaling_factor);
  for (float& x : latents.floats()) x *= factor;
  return rounded(latents.reshape({latents.dim(0), latents.dim(1), latents.dim(3), latents.dim(4)}));
}

// The posterior is sampled before the noise is drawn, by the same generators.
Start CogVideoXImageToVideoRecipe::start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps,
                                         Noise& noise, Request& request) const {
  const Tensor first = in_turns(encoded(call, noise, request), call.images);  // given latents may be fewer
  const VideoGrid grid = grid_of(call);
  Tensor condition = Tensor::zeros({call.images, grid.frames, format_.channels, grid.height, grid.width});
  const int64_t picture = first.numel() / call.images, video = condition.numel() / call.images;
  for (int64_t n = 0; n < call.images; ++n) std::copy_n(first.as<float>() + n * picture, picture, condition.as<float>() + n * video);
  conditioning.beside = packed_video(transformer_.config(), condition);
  if (transformer_.config().ofs_embed_dim) conditioning.shared["ofs"] = Tensor::from({kOfs});
  return CogVideoXRecipe::start(call, conditioning, scheduler, steps, noise, request);
}

Family cogvideox_image_to_video_family() {
  return {.class_name = "CogVideoXImageToVideoPipeline",
          .parts = cogvideox_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<CogVideoXImageToVideoRecipe>(parts); },
          .task = Task::image_to_image,
          .videos = true};
}

}  // namespace vivace
