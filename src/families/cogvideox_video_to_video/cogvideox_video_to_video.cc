#include "families/cogvideox_video_to_video/cogvideox_video_to_video.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/picture_start.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

double strength_of(const Call& call) { return call.options.strength.value_or(0.8); }

// [N, C, F, h, w] -> [N, F, C, h, w], times a number.
Tensor frames_first(const Tensor& x, float factor) {
  const int64_t channels = x.dim(1), frames = x.dim(2), plane = x.dim(3) * x.dim(4);
  Tensor out({x.dim(0), frames, channels, x.dim(3), x.dim(4)}, DType::float32);
  float* to = out.as<float>();
  for (int64_t n = 0; n < x.dim(0); ++n)
    for (int64_t f = 0; f < frames; ++f)
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = x.as<float>() + ((n * channels + c) * frames + f) * plane;
        to = std::transform(from, from + plane, to, [factor](float v) { return factor * v; });
      }
  return out;
}

}  // namespace

CallOptions CogVideoXVideoToVideoRecipe::blank_call(Size size) const {
  CallOptions options = CogVideoXRecipe::blank_call(size);
  options.video = {Video::from_tensor(Tensor::full({default_frames(), 1, 1, 3}, 1))};  // of any size
  return options;
}

int64_t CogVideoXVideoToVideoRecipe::frames_given(const CallOptions& o, int64_t videos) const {
  const int64_t ratio = transformer_.config().temporal_compression_ratio;
  if (o.latents.defined()) {
    if (!o.video.empty()) throw UsageError("video and latents are both given: choose one");
    if (o.latents.rank() != 5 || o.latents.dim(1) < 1)
      throw UsageError(cat("latents have shape ", to_string(o.latents.shape()), ": expected [N, F, C, h, w]"));
    return (o.latents.dim(1) - 1) * ratio + 1;
  }
  if (o.video.empty()) throw UsageError(cat("a ", parts_.class_name, " begins with a video: give it as video"));
  if (videos % static_cast<int64_t>(o.video.size()) != 0)
    throw UsageError(cat("video has ", o.video.size(), " entries for ", videos, " videos: expected a number that divides it"));
  for (const Video& video : o.video) {
    if (video.empty()) throw UsageError("video has an entry that is none");
    if (video.frames() != o.video[0].frames())
      throw UsageError(cat("video has entries of ", o.video[0].frames(), " and ", video.frames(), " frames: expected videos of one length"));
  }
  return o.video[0].frames();
}

Call CogVideoXVideoToVideoRecipe::resolve(const Prompts& prompt, const CallOptions& given) const {
  const CogVideoXTransformer3DConfig& model = transformer_.config();
  if (given.num_frames) throw UsageError(cat("a ", parts_.class_name, " does not take num_frames: it makes as many as the video has"));
  CallOptions o = given;
  const int64_t prompts = count_prompts(prompt, o, model.text_embed_dim);
  const int64_t frames = frames_given(o, prompts * std::max(o.num_images_per_prompt, 1));
  o.num_frames = static_cast<int>(std::clamp<int64_t>(frames, 0, std::numeric_limits<int>::max()));
  Call call = CogVideoXRecipe::resolve(prompt, o);
  if (frames_in_front(call) > 0)
    throw UsageError(cat("a video of ", frames, " frames makes ", model.latent_frames(frames), " latent frames: ", transformer_.name(),
                         " reads multiples of ", model.frames_a_patch(), " from a video"));
  if (const double strength = strength_of(call); !(strength >= 0 && strength <= 1))
    throw UsageError(cat("strength is ", strength, ": expected 0 to 1"));
  return call;
}

void CogVideoXVideoToVideoRecipe::tell_frames(int64_t given, int64_t made) const {
  warn("the video has ", given, " frames: the VAE makes ", made, " of them");
}

std::vector<SessionNeed> CogVideoXVideoToVideoRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = CogVideoXRecipe::sessions_for(call);
  if (!call.options.latents.defined()) add_needs(needs, vae_.encode_requests(*call.options.num_frames, call.height, call.width), Stage::encode);
  return needs;
}

StepRange CogVideoXVideoToVideoRecipe::steps(const Call& call, const Scheduler& scheduler) const {
  return steps_of_strength(steps_of(call), strength_of(call), scheduler);
}

int CogVideoXVideoToVideoRecipe::guided_steps(const Call& call) const { return steps_left(steps_of(call), strength_of(call)); }

Tensor CogVideoXVideoToVideoRecipe::encoded(const Call& call, Noise& noise, Request& request) const {
  std::vector<Tensor> samples;
  samples.reserve(call.options.video.size());
  for (const Video& video : call.options.video) samples.push_back(rounded(to_sample(video, call.height, call.width)));
  Autoencoder::Posterior posterior = encode_each(samples, vae_, request);
  // With a generator a video each draws a sample of its own, even of one that it shares.
  if (noise.generators().size() > 1) posterior = {in_turns(posterior.mean, call.images), in_turns(posterior.logvar, call.images)};
  const Tensor latents = sampled(posterior, noise.draw_in_turn(posterior.mean.shape()));
  // Also where the other classes divide (invert_scale_latents), as in Diffusers.
  return rounded(frames_first(latents, static_cast<float>(format_.scaling_factor)));
}

// The posterior is sampled before the noise is drawn, by the same generators.
Start CogVideoXVideoToVideoRecipe::start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps,
                                         Noise& noise, Request& request) const {
  if (call.options.latents.defined()) return CogVideoXRecipe::start(call, conditioning, scheduler, steps, noise, request);
  const Tensor videos = in_turns(encoded(call, noise, request), call.images);
  Tensor latents = rounded(scheduler.add_noise(videos, rounded(noise.draw(videos.shape())), steps.first));
  for (float& x : latents.floats()) x *= scheduler.init_noise_sigma();
  return {std::move(latents), {}};
}

Family cogvideox_video_to_video_family() {
  return {.class_name = "CogVideoXVideoToVideoPipeline",
          .parts = cogvideox_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<CogVideoXVideoToVideoRecipe>(parts); },
          .model = "cogvideox",
          .task = Task::video_to_video,
          .videos = true};
}

}  // namespace vivace
