#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/log.h"
#include "families/common/arguments.h"
#include "families/common/clip_prompt.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using TimeIds = std::vector<float>;

// What follows the sizes is the target's, or a score.
TimeIds time_ids(const Size& original, const Size& crop, const std::vector<double>& last) {
  TimeIds ids{static_cast<float>(original.first), static_cast<float>(original.second), static_cast<float>(crop.first),
              static_cast<float>(crop.second)};
  for (const double x : last) ids.push_back(static_cast<float>(x));
  return ids;
}

// The rows, one after another, so many times.
Tensor repeat(const std::vector<TimeIds>& rows, int64_t times) {
  Tensor ids({static_cast<int64_t>(rows.size()) * times, static_cast<int64_t>(rows.front().size())}, DType::float32);
  float* to = ids.as<float>();
  for (int64_t n = 0; n < times; ++n)
    for (const TimeIds& row : rows) to = std::ranges::copy(row, to).out;
  return ids;
}

std::vector<double> target_of(const Size& size) { return {static_cast<double>(size.first), static_cast<double>(size.second)}; }

Tensor zeros_like(const Tensor& t) { return Tensor::zeros(t.shape()); }

// The width of the pooled prompt: what the first encoder that projects gives, else the second one's.
int64_t pooled_width(const Parts& parts) {
  if (parts.has("text_encoder"))
    if (const CLIPTextConfig& first = parts.component<CLIPTextComponent>("text_encoder").config(); first.with_projection) return first.projection_dim;
  const CLIPTextConfig& second = parts.component<CLIPTextComponent>("text_encoder_2").config();
  return second.with_projection ? second.projection_dim : second.hidden_size;
}

}  // namespace

std::vector<std::string_view> stable_diffusion_xl_arguments(std::initializer_list<std::string_view> more) {
  std::vector<std::string_view> names{"prompt_2",
                                      "negative_prompt",
                                      "negative_prompt_2",
                                      "prompt_embeds",
                                      "negative_prompt_embeds",
                                      "pooled_prompt_embeds",
                                      "negative_pooled_prompt_embeds",
                                      "timesteps",
                                      "sigmas",
                                      "denoising_end",
                                      "guidance_scale",
                                      "eta",
                                      "original_size",
                                      "target_size",
                                      "crops_coords_top_left",
                                      "negative_original_size",
                                      "negative_target_size",
                                      "negative_crops_coords_top_left",
                                      "clip_skip"};
  names.insert(names.end(), more);
  return names;
}

StableDiffusionXLRecipe::StableDiffusionXLRecipe(const Parts& parts, const Config& index, UNetClass unet_class)
    : UNetRecipe(parts, std::move(unet_class)),
      force_zeros_for_empty_prompt_(index.get_or<bool>("force_zeros_for_empty_prompt", true)),
      scores_(class_.task != Task::text_to_image && index.get_or<bool>("requires_aesthetics_score", false)) {
  constexpr std::string_view kEncoders[] = {"text_encoder", "text_encoder_2"};
  check_tokenizer(parts, "tokenizer", "text_encoder");
  check_tokenizer(parts, "tokenizer_2", "text_encoder_2");
  const Tokenizer *first = parts.tokenizer("tokenizer"), *second = parts.tokenizer("tokenizer_2");
  if (first && second && first->model_max_length() != second->model_max_length())
    throw UserError(cat(parts.folder("tokenizer"), " makes prompts of ", first->model_max_length(), " tokens, ", parts.folder("tokenizer_2"), " of ",
                        second->model_max_length(), ": expected the same model_max_length in both"));
  check_text_width(kEncoders);
  check_added_conditions(true);
  const UNetConfig& unet = unet_.config();
  if (unet.time_id_count != 6 && class_.task == Task::text_to_image)
    throw UserError(cat(parts.folder("unet"), " takes aesthetic scores (it is a refiner): it refines pictures and cannot begin one"));
  if ((unet.time_id_count == 5) != scores_)
    throw UserError(cat(index.name(), ": requires_aesthetics_score is ", scores_ ? "true" : "false", ", and ", parts.folder("unet"), " takes ",
                        scores_ ? "a target size" : "aesthetic scores", " (projection_class_embeddings_input_dim): set it to ",
                        scores_ ? "false" : "true"));
  const int64_t pooled = pooled_width(parts), wanted = unet.projection_class_embeddings_input_dim - unet.time_id_count * unet.addition_time_embed_dim;
  if (pooled != wanted)
    throw UserError(cat(parts.folder("text_encoder_2"), " gives a pooled prompt of width ", pooled, ", ", parts.folder("unet"), " takes ", wanted,
                        " (projection_class_embeddings_input_dim less ", unet.time_id_count,
                        " times addition_time_embed_dim): expected the parts of one model"));
}

Call StableDiffusionXLRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  check_taken(o, parts_.class_name, class_.taken);
  const int64_t prompts = count_prompts(prompt, o, unet_.config().cross_attention_dim);
  if (o.prompt_embeds.defined() && !o.prompt_2.empty()) throw UsageError("prompt_2 and prompt_embeds are both given: choose one");
  if (o.negative_prompt_embeds.defined() && o.negative_prompt_2)
    throw UsageError("negative_prompt_2 and negative_prompt_embeds are both given: choose one");
  check_pooled(o.pooled_prompt_embeds, "pooled_prompt_embeds", o.prompt_embeds, "prompt_embeds", pooled_width(parts_));
  check_pooled(o.negative_pooled_prompt_embeds, "negative_pooled_prompt_embeds", o.negative_prompt_embeds, "negative_prompt_embeds",
               pooled_width(parts_));
  return resolve_call(prompt, o, prompts);
}

bool StableDiffusionXLRecipe::encodes_negative(const Call& call) const {
  const CallOptions& o = call.options;
  return call.guidance && !o.negative_prompt_embeds.defined() && (o.negative_prompt || !force_zeros_for_empty_prompt_);
}

int64_t StableDiffusionXLRecipe::tokens(const Call& call) const {
  const Tensor& given = call.options.prompt_embeds;
  return given.defined() ? given.dim(1) : prompt_tokens(parts_, "tokenizer_2", "text_encoder_2");
}

std::vector<SessionNeed> StableDiffusionXLRecipe::text_sessions(const Call& call) const {
  std::vector<SessionNeed> needs;
  for (const std::string_view name : {"text_encoder", "text_encoder_2"}) {
    if (!parts_.has(name)) continue;
    const auto& text = parts_.component<CLIPTextComponent>(name);
    if (!call.options.prompt_embeds.defined())
      needs.push_back({name, text.request(call.prompts, tokens(call), 1 + call.options.clip_skip.value_or(0)), Stage::encode});
    if (encodes_negative(call)) needs.push_back({name, text.request(call.prompts, tokens(call), 1), Stage::encode});
  }
  return needs;
}

// The penultimate hidden states of both encoders side by side, and the pooled output of the first that projects. With one encoder alone that one gets
// the first prompt.
StableDiffusionXLRecipe::Encoded StableDiffusionXLRecipe::encode_texts(const Call& call, const Prompts& first, const Prompts& second, int skip,
                                                                       Request& request) const {
  Encoded result;
  if (parts_.has("text_encoder")) {
    const CLIPTextModelOutput out =
        parts_.component<CLIPTextComponent>("text_encoder").encode(tokenize(parts_, "tokenizer", first, tokens(call)), skip, request);
    result = {out.hidden_state, out.text_embeds};
  }
  const Tensor ids = tokenize(parts_, "tokenizer_2", parts_.has("text_encoder") ? second : first, tokens(call));
  const CLIPTextModelOutput out = parts_.component<CLIPTextComponent>("text_encoder_2").encode(ids, skip, request);
  result.embeds = join_features(result.embeds, out.hidden_state);
  if (!result.pooled.defined()) result.pooled = out.text_embeds.defined() ? out.text_embeds : out.pooler_output;
  return result;
}

StableDiffusionXLRecipe::Encoded StableDiffusionXLRecipe::encode_positive(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  if (o.prompt_embeds.defined()) return {o.prompt_embeds.to(DType::float32), o.pooled_prompt_embeds.to(DType::float32)};
  const std::optional<Prompts> second = o.prompt_2.empty() ? std::nullopt : std::optional(o.prompt_2);
  return encode_texts(call, call.prompt, matching(second, call.prompt, call.prompts, "prompt_2", true), 1 + o.clip_skip.value_or(0), request);
}

StableDiffusionXLRecipe::Encoded StableDiffusionXLRecipe::encode_negative(const Call& call, const Encoded& positive, Request& request) const {
  const CallOptions& o = call.options;
  if (o.negative_prompt_embeds.defined()) return {o.negative_prompt_embeds.to(DType::float32), o.negative_pooled_prompt_embeds.to(DType::float32)};
  if (!encodes_negative(call)) return {zeros_like(positive.embeds), zeros_like(positive.pooled)};
  const Prompts first = matching(o.negative_prompt, "", call.prompts, "negative_prompt");
  // As in Diffusers, clip_skip does not reach the negative prompt.
  return encode_texts(call, first, matching(o.negative_prompt_2, first, call.prompts, "negative_prompt_2", true), 1, request);
}

// As in Diffusers.
void StableDiffusionXLRecipe::tell_unused(const Call& call) const {
  const CallOptions& o = call.options;
  if (call.guidance && o.negative_prompt_2 && !encodes_negative(call))
    warn("negative_prompt_2 changes nothing without negative_prompt: this checkpoint takes zeros for both (force_zeros_for_empty_prompt)");
  if (call.guidance && class_.task == Task::text_to_image && o.negative_original_size.has_value() != o.negative_target_size.has_value())
    warn(o.negative_target_size ? "negative_target_size" : "negative_original_size",
         " changes nothing: negative_original_size and negative_target_size count together");
  if (!scores_ && (o.aesthetic_score || o.negative_aesthetic_score))
    warn(o.aesthetic_score ? "aesthetic_score" : "negative_aesthetic_score",
         " changes nothing: this model is no refiner (requires_aesthetics_score)");
}

Conditioning StableDiffusionXLRecipe::encode(const Call& call, Request& request) const {
  const CallOptions& o = call.options;
  const int64_t n = o.num_images_per_prompt;
  tell_unused(call);
  const Encoded positive = encode_positive(call, request);
  Conditioning result;
  result.positive["encoder_hidden_states"] = repeat_rows(positive.embeds, n);
  result.positive["text_embeds"] = repeat_rows(positive.pooled, n);
  if (call.guidance) {
    const Encoded negative = encode_negative(call, positive, request);
    result.negative["encoder_hidden_states"] = repeat_rows(negative.embeds, n);
    result.negative["text_embeds"] = repeat_rows(negative.pooled, n);
  }
  add_time_ids(call, result);
  add_guidance_embedding(call, result);
  return result;
}

void StableDiffusionXLRecipe::add_time_ids(const Call& call, Conditioning& conditioning) const {
  const CallOptions& o = call.options;
  const Size size{call.height, call.width}, original = o.original_size.value_or(size), target = o.target_size.value_or(size);
  const Size crop = o.crops_coords_top_left, negative_original = o.negative_original_size.value_or(original);
  const TimeIds ids = time_ids(original, crop, scores_ ? std::vector{o.aesthetic_score.value_or(6)} : target_of(target));
  if (class_.task != Task::text_to_image) {
    // As in Diffusers, the negative crop counts with a score alone, and where there is one.
    const Size negative_crop = inpaints_controlled() ? crop : o.negative_crops_coords_top_left;
    const TimeIds negative = scores_ ? time_ids(negative_original, negative_crop, {o.negative_aesthetic_score.value_or(2.5)})
                                     : time_ids(negative_original, crop, target_of(o.negative_target_size.value_or(target)));
    conditioning.positive["time_ids"] = repeat({ids}, call.images);
    if (call.guidance) conditioning.negative["time_ids"] = repeat({negative}, call.images);
    return;
  }
  if (!call.guidance) {
    conditioning.positive["time_ids"] = repeat({ids}, call.images);
    return;
  }
  const bool own = o.negative_original_size && o.negative_target_size;
  const TimeIds negative = own ? time_ids(*o.negative_original_size, o.negative_crops_coords_top_left, target_of(*o.negative_target_size)) : ids;
  // Diffusers repeats the pair of a negative and a positive row, where everything else is all negative rows and then all positive ones.
  const Tensor pairs = repeat({negative, ids}, call.images);
  conditioning.negative["time_ids"] = pairs.rows(0, call.images).clone();
  conditioning.positive["time_ids"] = pairs.rows(call.images, 2 * call.images).clone();
}

std::vector<PartSpec> stable_diffusion_xl_parts() {
  return {{"tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"}, true},
          {"text_encoder", {"CLIPTextModel", "CLIPTextModelWithProjection"}, true},
          {"tokenizer_2", {"CLIPTokenizer", "CLIPTokenizerFast"}},
          {"text_encoder_2", {"CLIPTextModelWithProjection"}},
          {"unet", {"UNet2DConditionModel"}, false, true},
          {"vae", {"AutoencoderKL", "AutoencoderTiny"}, false, true},
          {"scheduler", {}}};
}

Family stable_diffusion_xl_family() {
  return {.class_name = "StableDiffusionXLPipeline",
          .parts = stable_diffusion_xl_parts(),
          .open = [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionXLRecipe>(
                parts, index, UNetClass{.guidance_scale = 5, .taken = stable_diffusion_xl_arguments({"guidance_rescale"})});
          },
          .model = "stable-diffusion-xl"};
}

}  // namespace vivace
