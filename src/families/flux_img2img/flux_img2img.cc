#include "families/flux_img2img/flux_img2img.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "families/common/clip_prompt.h"
#include "families/common/packed_latents.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr double kDefaultStrength = 0.6;
// What encode leaves for latents, among the inputs that no model has.
constexpr const char *kMean = "init_mean", *kLogvar = "init_logvar";

}  // namespace

std::vector<std::string_view> FluxImg2ImgRecipe::also_taken() const { return {"image", "strength"}; }

StepRange FluxImg2ImgRecipe::steps(const Call& call, const Scheduler& scheduler) const {
  const double n = steps_of(call), taken = std::min(n * call.options.strength.value_or(kDefaultStrength), n);
  return {static_cast<int>(std::max(n - taken, 0.)), static_cast<int>(scheduler.timesteps().size())};
}

Call FluxImg2ImgRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  Call call = FluxRecipe::resolve(prompt, o);
  const double strength = o.strength.value_or(kDefaultStrength);
  if (!(strength >= 0 && strength <= 1)) throw UsageError(cat("strength is ", strength, ": expected 0 to 1"));
  if (o.image.empty()) throw UsageError(cat("a ", parts_.class_name, " begins with a picture: give it as image"));
  if (strength == 0)
    throw UsageError(cat("a strength of ", strength, " leaves none of ", steps_of(call), " steps: expected more of one or the other"));
  return call;
}

std::vector<SessionNeed> FluxImg2ImgRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = FluxRecipe::sessions_for(call);
  needs.insert(needs.begin(), {"vae", vae_.encode_request(1, call.height, call.width, vae_.decode_dtype()), Stage::encode});
  return needs;
}

Conditioning FluxImg2ImgRecipe::encode(const Call& call, Request& request) const {
  Conditioning result = FluxRecipe::encode(call, request);
  if (call.options.latents.defined()) return result;
  const auto posterior = encode_picture(call.options.image, call.height, call.width, request);
  result.shared[kMean] = posterior.mean;
  result.shared[kLogvar] = posterior.logvar;
  return result;
}

Tensor FluxImg2ImgRecipe::latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step,
                                  Noise& noise) const {
  if (call.options.latents.defined()) return FluxRecipe::latents(call, conditioning, scheduler, first_step, noise);
  const Tensor &mean = conditioning.shared.at(kMean), &logvar = conditioning.shared.at(kLogvar);
  // The posterior is sampled before the noise is drawn, by the same generator.
  Tensor picture = noise.draw_one(mean.shape());
  for (int64_t i = 0; i < picture.numel(); ++i) {
    float& x = picture.as<float>()[i];
    x = mean.as<float>()[i] + std::exp(0.5f * logvar.as<float>()[i]) * x;
    x = (x - static_cast<float>(format_.shift_factor)) * static_cast<float>(format_.scaling_factor);
  }
  return pack_latents(scheduler.add_noise(repeat_rows(picture, call.images), draw(call, noise), first_step));
}

Family flux_img2img_family() {
  return {.class_name = "FluxImg2ImgPipeline", .parts = flux_parts(), .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<FluxImg2ImgRecipe>(parts);
          }};
}

}  // namespace vivace
