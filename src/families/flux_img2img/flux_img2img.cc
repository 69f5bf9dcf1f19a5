#include "families/flux_img2img/flux_img2img.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "families/common/packed_latents.h"
#include "families/common/picture_start.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr double kDefaultStrength = 0.6;

}  // namespace

std::vector<std::string_view> FluxImg2ImgRecipe::also_taken() const { return {"image", "strength"}; }

StepRange FluxImg2ImgRecipe::steps(const Call& call, const Scheduler& scheduler) const {
  const double n = steps_of(call), taken = std::min(n * call.options.strength.value_or(kDefaultStrength), n);
  return {static_cast<int>(std::max(n - taken, 0.)), static_cast<int>(scheduler.timesteps().size())};
}

CallOptions FluxImg2ImgRecipe::blank_call(Size size) const {
  CallOptions options = FluxRecipe::blank_call(size);
  options.image = blank_picture(size.first ? size.first : default_size().first, size.second ? size.second : default_size().second);
  return options;
}

Call FluxImg2ImgRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  Call call = FluxRecipe::resolve(prompt, o);
  const double strength = o.strength.value_or(kDefaultStrength);
  if (!(strength >= 0 && strength <= 1)) throw UsageError(cat("strength is ", strength, ": expected 0 to 1"));
  if (o.image.empty()) throw UsageError(cat("a ", parts_.class_name, " begins with a picture: give it as image"));
  if (strength == 0)
    throw UsageError(cat("a strength of ", strength, " leaves none of ", steps_of(call), " steps: expected more of one or the other"));
  if (!o.latents.defined()) check_input(o.image, "image", call.images, format_.channels, call.height / format_.scale, call.width / format_.scale);
  return call;
}

std::vector<SessionNeed> FluxImg2ImgRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = FluxRecipe::sessions_for(call);
  if (!call.options.latents.defined() && !call.options.image.latents.defined())
    add_needs(needs, vae_.encode_requests(1, call.height, call.width), Stage::encode);
  return needs;
}

Start FluxImg2ImgRecipe::start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
                               Request& request) const {
  const CallOptions& o = call.options;
  if (o.latents.defined()) return FluxRecipe::start(call, conditioning, scheduler, steps, noise, request);
  Tensor pictures;
  if (o.image.latents.defined()) {
    pictures = o.image.latents.to(DType::float32);
  } else {
    // The posterior is sampled before the noise is drawn, by the same generators.
    const auto posterior = encode_pictures(o.image.images, call.height, call.width, request);
    pictures = scaled(sampled(posterior, posterior.logvar.defined() ? noise.draw_first(posterior.mean.shape()) : Tensor()));
  }
  return {pack_latents(scheduler.add_noise(in_turns(pictures, call.images), draw(call, noise), steps.first)), {}};
}

Family flux_img2img_family() {
  return {.class_name = "FluxImg2ImgPipeline",
          .parts = flux_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<FluxImg2ImgRecipe>(parts); },
          .model = "flux",
          .task = Task::image_to_image};
}

}  // namespace vivace
