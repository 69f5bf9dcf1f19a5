#include "families/common/unet_recipe.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "families/common/guided_predictor.h"
#include "families/common/pictures.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// What a UNet is for whose input is more than the latents; empty for a number that no known kind has.
const char* kind_of(int64_t channels, int64_t latent) {
  if (channels == 2 * latent + 1) return ": it is an inpainting model, which fills in a mask";
  if (channels == 2 * latent) return ": it is a model that edits a picture (InstructPix2Pix)";
  if (channels == latent + 1) return ": it is a model that takes a picture's depth";
  if (channels == latent + 3) return ": it is an upscaler";
  return "";
}

// get_guidance_scale_embedding: sin and cos of 1000 w at `dim` / 2 frequencies (models distilled with guidance, LCM).
Tensor guidance_embedding(double w, int64_t dim, int64_t images) {
  Tensor e({images, dim}, DType::float32);
  const int64_t half = dim / 2;
  std::ranges::fill(e.floats(), 0.f);
  for (int64_t n = 0; n < images; ++n)
    for (int64_t i = 0; i < half; ++i) {
      const float frequency = std::exp(static_cast<float>(i) * -static_cast<float>(std::log(10000.0) / static_cast<double>(half - 1)));
      const float angle = static_cast<float>(w) * 1000.f * frequency;
      e.as<float>()[n * dim + i] = std::sin(angle);
      e.as<float>()[n * dim + half + i] = std::cos(angle);
    }
  return e;
}

}  // namespace

UNetRecipe::UNetRecipe(const Parts& parts)
    : parts_(parts), unet_(parts.component<UNetComponent>("unet")), vae_(parts.component<VAEComponent>("vae")) {
  const UNetConfig& unet = unet_.config();
  const LatentFormat vae = vae_.latents();
  const auto fail = [](const auto&... args) { throw UserError(cat(args...)); };
  if (unet.in_channels != vae.channels)
    fail(parts.folder("unet"), " takes ", unet.in_channels, " channels (in_channels) and the latents of ", parts.folder("vae"), " have ",
         vae.channels, " (latent_channels)", kind_of(unet.in_channels, vae.channels), "; a ", parts.class_name,
         " needs a UNet that takes the latents alone");
  if (unet.out_channels != vae.channels)
    fail(parts.folder("unet"), " gives ", unet.out_channels, " channels (out_channels) and the latents of ", parts.folder("vae"), " have ",
         vae.channels, " (latent_channels): expected the same number");
  if (vae.picture_channels != 3) fail(parts.folder("vae"), " gives pictures of ", vae.picture_channels, " channels (out_channels): expected 3 (RGB)");
}

void UNetRecipe::check_text_width(std::span<const std::string_view> encoders) const {
  int64_t width = 0;
  std::string folders;
  int count = 0;
  for (const std::string_view name : encoders) {
    if (!parts_.has(name)) continue;
    width += parts_.component<CLIPTextComponent>(name).config().hidden_size;
    folders += cat(count++ ? " and " : "", parts_.folder(name));
  }
  if (width != unet_.config().cross_attention_dim)
    throw UserError(cat(folders, count > 1 ? " give" : " gives", " prompts of width ", width, " (hidden_size), ", parts_.folder("unet"), " takes ",
                        unet_.config().cross_attention_dim, " (cross_attention_dim): expected the parts of one model"));
}

void UNetRecipe::check_added_conditions(bool wanted) const {
  const bool takes = unet_.config().addition_embed_type == "text_time";
  if (takes && !wanted)
    throw UserError(cat(parts_.folder("unet"), " takes a pooled prompt and sizes (addition_embed_type \"text_time\"), as SDXL's do: a ",
                        parts_.class_name, " gives none"));
  if (!takes && wanted)
    throw UserError(cat(parts_.folder("unet"), " takes no pooled prompt and sizes (addition_embed_type): a ", parts_.class_name, " gives them"));
}

void UNetRecipe::add_guidance_embedding(const Call& call, Conditioning& conditioning) const {
  if (is_guidance_distilled())
    conditioning.positive["timestep_cond"] = guidance_embedding(call.guidance_scale - 1, unet_.config().time_cond_proj_dim, call.images);
}

Size UNetRecipe::default_size() const {
  const int64_t scale = vae_.latents().scale;
  return {unet_.config().sample_height * scale, unet_.config().sample_width * scale};
}

SchedulerTimesteps UNetRecipe::timesteps(const Call& call) const {
  const CallOptions& o = call.options;
  SchedulerTimesteps request{.timesteps = o.timesteps, .sigmas = o.sigmas, .original_inference_steps = o.original_inference_steps, .eta = o.eta};
  if (o.timesteps.empty() && o.sigmas.empty()) request.num_inference_steps = o.num_inference_steps.value_or(default_steps());
  return request;
}

GraphRequest UNetRecipe::unet_request(const Call& call) const {
  const int64_t scale = vae_.latents().scale;
  return unet_.request({call.guidance ? 2 * call.images : call.images, call.height / scale, call.width / scale, tokens(call)}, call.timesteps);
}

std::vector<SessionNeed> UNetRecipe::sessions_for(const Call& call) const {
  std::vector<SessionNeed> needs = text_sessions(call);
  const int64_t scale = vae_.latents().scale;
  if (call.images_in > 0) needs.push_back({"vae", vae_.encode_request(1, call.height, call.width, vae_.decode_dtype()), Stage::encode});
  needs.push_back({"unet", unet_request(call), Stage::denoise});
  if (!call.options.output_latent)
    needs.push_back({"vae", vae_.decode_request(1, call.height / scale, call.width / scale, vae_.decode_dtype()), Stage::decode});
  return needs;
}

Tensor UNetRecipe::latents(const Call& call, const Conditioning&, const Scheduler& scheduler, int, Noise& noise) const {
  const int64_t scale = vae_.latents().scale;
  return initial_latents(call.options, {call.images, unet_.config().in_channels, call.height / scale, call.width / scale}, scheduler, noise);
}

std::unique_ptr<Predictor> UNetRecipe::predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                                 Request& request) const {
  const GuidedPredictorOptions options{.name = unet_.name(), .scale = call.guidance_scale, .rescale = call.options.guidance_rescale};
  return guided_by_halves(unet_.lease(unet_request(call), request), call, conditioning, scheduler, options, request);
}

std::vector<Image> UNetRecipe::decode(const Call&, const Tensor& latents, Request& request) const {
  const LatentFormat format = vae_.latents();
  const int64_t channels = latents.dim(1), plane = latents.dim(2) * latents.dim(3);
  const bool statistics = own_statistics() && !format.mean.empty() && !format.std.empty();
  const auto latents_of = [&](int64_t n) {
    Tensor z = latents.rows(n, n + 1).clone();
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < plane; ++i) {
        float& x = z.as<float>()[c * plane + i];
        const auto channel = static_cast<size_t>(c);
        x = statistics ? x * format.std[channel] / static_cast<float>(format.scaling_factor) + format.mean[channel]
                       : x / static_cast<float>(format.scaling_factor);
      }
    return z;
  };
  return decode_each(latents.dim(0), latents_of, vae_, parts_.folder("vae"), request);
}

}  // namespace vivace
