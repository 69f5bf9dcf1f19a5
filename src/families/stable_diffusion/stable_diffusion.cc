#include "families/stable_diffusion/stable_diffusion.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "vivace/error.h"

namespace vivace {

std::string stable_diffusion_corrections(const std::string& config) {
  const nlohmann::json values = strict_json(config);
  nlohmann::json forced = nlohmann::json::object();
  if (values.contains("steps_offset") && values["steps_offset"] != 1) forced["steps_offset"] = 1;
  if (values.contains("clip_sample") && values["clip_sample"] == true) forced["clip_sample"] = false;
  return json_text(forced);
}

std::vector<std::string_view> stable_diffusion_arguments(std::initializer_list<std::string_view> more) {
  std::vector<std::string_view> names{"negative_prompt", "prompt_embeds", "negative_prompt_embeds", "timesteps", "sigmas", "guidance_scale", "eta",
                                      "clip_skip"};
  names.insert(names.end(), more);
  return names;
}

StableDiffusionRecipe::StableDiffusionRecipe(const Parts& parts, UNetClass unet_class) : UNetRecipe(parts, std::move(unet_class)) {
  constexpr std::string_view kEncoders[] = {"text_encoder"};
  check_tokenizer(parts, "tokenizer", "text_encoder");
  check_text_width(kEncoders);
  check_added_conditions(false);
}

Size StableDiffusionRecipe::default_size() const {
  const int64_t scale = vae_.latents().scale;
  return unet_.config().outdated_sample_size ? Size{64 * scale, 64 * scale} : UNetRecipe::default_size();
}

Call StableDiffusionRecipe::resolve(const Prompts& prompt, const CallOptions& options) const {
  check_taken(options, parts_.class_name, class_.taken);
  CallOptions o = options;
  const Size own = default_size();
  if (class_.task == Task::image_to_image && o.latents.defined())
    throw UsageError(cat("a ", parts_.class_name, " does not take latents: give them as image, where they are of a picture"));
  // As in Diffusers, which asks for both or none here.
  const bool one_alone = class_.task == Task::text_to_image && !class_.controlled && !o.height != !o.width;
  if (one_alone) o.height = own.first, o.width = own.second;
  Call call = resolve_call(prompt, o, count_prompts(prompt, o, unet_.config().cross_attention_dim));
  if (one_alone) call.options.height = options.height, call.options.width = options.width;
  return call;
}

int64_t StableDiffusionRecipe::tokens(const Call& call) const {
  const Tensor& given = call.options.prompt_embeds;
  return given.defined() ? given.dim(1) : prompt_tokens(parts_, "tokenizer", "text_encoder");
}

std::vector<SessionNeed> StableDiffusionRecipe::text_sessions(const Call& call) const {
  const auto& text = parts_.component<CLIPTextComponent>("text_encoder");
  std::vector<SessionNeed> needs;
  if (!call.options.prompt_embeds.defined())
    needs.push_back({"text_encoder", text.request(call.prompts, tokens(call), call.options.clip_skip.value_or(0)), Stage::encode});
  if (encodes_negative(call)) needs.push_back({"text_encoder", text.request(call.prompts, tokens(call), 0), Stage::encode});
  return needs;
}

// The last hidden state behind the final norm. As in Diffusers, clip_skip does not reach the negative prompt.
Conditioning StableDiffusionRecipe::encode(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  if ((o.height && o.height != call.height) || (o.width && o.width != call.width))
    warn(o.height ? "height" : "width", " alone is not used: give height and width, or neither of them for ", call.height, 'x', call.width);
  auto& text = parts_.component<CLIPTextComponent>("text_encoder");
  const auto states = [&](const Prompts& prompts, int skip) {
    return text.encode(tokenize(parts_, "tokenizer", prompts, tokens(call)), skip, request).hidden_state_normed;
  };
  const int64_t n = o.num_images_per_prompt;
  Conditioning result;
  const Tensor positive = o.prompt_embeds.defined() ? o.prompt_embeds.to(DType::float32) : states(call.prompt, o.clip_skip.value_or(0));
  result.positive["encoder_hidden_states"] = repeat_rows(positive, n);
  if (call.guidance) {
    const Tensor negative = encodes_negative(call) ? states(matching(o.negative_prompt, "", call.prompts, "negative_prompt"), 0)
                                                   : o.negative_prompt_embeds.to(DType::float32);
    result.negative["encoder_hidden_states"] = repeat_rows(negative, n);
  }
  add_guidance_embedding(call, result);
  return result;
}

std::vector<PartSpec> stable_diffusion_parts() {
  return {{"tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"}},
          {"text_encoder", {"CLIPTextModel", "CLIPTextModelWithProjection"}},
          {"unet", {"UNet2DConditionModel"}, false, true},
          {"vae", {"AutoencoderKL", "AutoencoderTiny"}, false, true},
          {"scheduler", {}}};
}

Family stable_diffusion_family() {
  return {.class_name = "StableDiffusionPipeline",
          .parts = stable_diffusion_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionRecipe>(
                parts, UNetClass{.guidance_scale = 7.5, .taken = stable_diffusion_arguments({"guidance_rescale"})});
          },
          .scheduler_corrections = stable_diffusion_corrections,
          .model = "stable-diffusion"};
}

}  // namespace vivace
