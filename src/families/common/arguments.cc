#include "families/common/arguments.h"

#include <algorithm>
#include <cmath>

#include "base/joined.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Argument {
  std::string_view name;
  bool (*given)(const CallOptions&);
};

constexpr Size kNone{0, 0};

// Those that some family does not take.
constexpr Argument kArguments[] = {
    {"prompt_2", [](const CallOptions& o) { return !o.prompt_2.empty(); }},
    {"negative_prompt", [](const CallOptions& o) { return o.negative_prompt.has_value(); }},
    {"negative_prompt_2", [](const CallOptions& o) { return o.negative_prompt_2.has_value(); }},
    {"prompt_embeds", [](const CallOptions& o) { return o.prompt_embeds.defined(); }},
    {"negative_prompt_embeds", [](const CallOptions& o) { return o.negative_prompt_embeds.defined(); }},
    {"pooled_prompt_embeds", [](const CallOptions& o) { return o.pooled_prompt_embeds.defined(); }},
    {"negative_pooled_prompt_embeds", [](const CallOptions& o) { return o.negative_pooled_prompt_embeds.defined(); }},
    {"timesteps", [](const CallOptions& o) { return !o.timesteps.empty(); }},
    {"sigmas", [](const CallOptions& o) { return !o.sigmas.empty(); }},
    {"original_inference_steps", [](const CallOptions& o) { return o.original_inference_steps.has_value(); }},
    {"denoising_start", [](const CallOptions& o) { return o.denoising_start.has_value(); }},
    {"denoising_end", [](const CallOptions& o) { return o.denoising_end.has_value(); }},
    {"guidance_scale", [](const CallOptions& o) { return o.guidance_scale.has_value(); }},
    {"guidance_rescale", [](const CallOptions& o) { return o.guidance_rescale != 0; }},
    {"eta", [](const CallOptions& o) { return o.eta != 0; }},
    {"original_size", [](const CallOptions& o) { return o.original_size.has_value(); }},
    {"target_size", [](const CallOptions& o) { return o.target_size.has_value(); }},
    {"crops_coords_top_left", [](const CallOptions& o) { return o.crops_coords_top_left != kNone; }},
    {"negative_original_size", [](const CallOptions& o) { return o.negative_original_size.has_value(); }},
    {"negative_target_size", [](const CallOptions& o) { return o.negative_target_size.has_value(); }},
    {"negative_crops_coords_top_left", [](const CallOptions& o) { return o.negative_crops_coords_top_left != kNone; }},
    {"clip_skip", [](const CallOptions& o) { return o.clip_skip.has_value(); }},
    {"true_cfg_scale", [](const CallOptions& o) { return o.true_cfg_scale.has_value(); }},
    {"max_sequence_length", [](const CallOptions& o) { return o.max_sequence_length.has_value(); }},
    {"image", [](const CallOptions& o) { return !o.image.empty(); }},
    {"video", [](const CallOptions& o) { return !o.video.empty(); }},
    {"strength", [](const CallOptions& o) { return o.strength.has_value(); }},
    {"mask_image", [](const CallOptions& o) { return !o.mask_image.empty(); }},
    {"masked_image_latents", [](const CallOptions& o) { return o.masked_image_latents.defined(); }},
    {"padding_mask_crop", [](const CallOptions& o) { return o.padding_mask_crop.has_value(); }},
    {"aesthetic_score", [](const CallOptions& o) { return o.aesthetic_score.has_value(); }},
    {"negative_aesthetic_score", [](const CallOptions& o) { return o.negative_aesthetic_score.has_value(); }},
    {"control_image", [](const CallOptions& o) { return !o.control_image.empty(); }},
    {"controlnet_conditioning_scale", [](const CallOptions& o) { return !o.controlnet_conditioning_scale.empty(); }},
    {"control_guidance_start", [](const CallOptions& o) { return !o.control_guidance_start.empty(); }},
    {"control_guidance_end", [](const CallOptions& o) { return !o.control_guidance_end.empty(); }},
    {"guess_mode", [](const CallOptions& o) { return o.guess_mode; }},
    {"max_area", [](const CallOptions& o) { return o.max_area.has_value(); }},
    {"auto_resize", [](const CallOptions& o) { return !o.auto_resize; }},
    {"num_frames", [](const CallOptions& o) { return o.num_frames.has_value(); }},
    {"use_dynamic_cfg", [](const CallOptions& o) { return o.use_dynamic_cfg; }},
};

bool is_given(const CallOptions& options, std::string_view argument) {
  return std::ranges::find(kArguments, argument, &Argument::name)->given(options);
}

// One that counts where others are as they have to be.
struct Dependence {
  Argument argument;
  bool (*counts)(const Call&);
  const char* otherwise;
};

bool is_guided(const Call& call) { return call.guidance; }
bool by_steps(const Call& call) { return call.options.timesteps.empty() && call.options.sigmas.empty(); }
bool begins_by_strength(const Call& call) { return !(call.options.denoising_start > 0. && call.options.denoising_start < 1.); }
bool has_image(const Call& call) { return !call.options.image.empty(); }

constexpr const char* kUnguided = "there is no guidance (a guidance_scale, FLUX's true_cfg_scale, above 1)";

constexpr Dependence kDependences[] = {
    {{"negative_prompt", [](const CallOptions& o) { return o.negative_prompt && *o.negative_prompt != Prompts(""); }}, is_guided, kUnguided},
    {{"negative_prompt_2", [](const CallOptions& o) { return o.negative_prompt_2 && *o.negative_prompt_2 != Prompts(""); }}, is_guided, kUnguided},
    {{"negative_prompt_embeds", [](const CallOptions& o) { return o.negative_prompt_embeds.defined(); }}, is_guided, kUnguided},
    {{"negative_original_size", [](const CallOptions& o) { return o.negative_original_size.has_value(); }}, is_guided, kUnguided},
    {{"negative_target_size", [](const CallOptions& o) { return o.negative_target_size.has_value(); }}, is_guided, kUnguided},
    {{"negative_crops_coords_top_left", [](const CallOptions& o) { return o.negative_crops_coords_top_left != kNone; }}, is_guided, kUnguided},
    {{"negative_aesthetic_score", [](const CallOptions& o) { return o.negative_aesthetic_score.has_value(); }}, is_guided, kUnguided},
    {{"guidance_rescale", [](const CallOptions& o) { return o.guidance_rescale != 0; }}, is_guided, kUnguided},
    {{"use_dynamic_cfg", [](const CallOptions& o) { return o.use_dynamic_cfg; }}, is_guided, kUnguided},
    {{"true_cfg_scale", [](const CallOptions& o) { return o.true_cfg_scale > 1.; }}, is_guided, "there is no negative_prompt"},
    {{"strength", [](const CallOptions& o) { return o.strength.has_value(); }}, begins_by_strength, "denoising_start says where the call begins"},
    {{"num_inference_steps", [](const CallOptions& o) { return o.num_inference_steps.has_value(); }},
     by_steps,
     "timesteps or sigmas are given in its place"},
    {{"auto_resize", [](const CallOptions& o) { return !o.auto_resize; }}, has_image, "there is no image"},
};

// A side beyond this is a slip of the keyboard: one float32 activation of a VAE would take hundreds of gigabytes.
constexpr int64_t kLargestSide = 1 << 15;
constexpr int kMostImages = 4096, kMostLayers = 1024;

void check_embeds(const Tensor& embeds, const char* name, int64_t prompts, int64_t tokens, int64_t width) {
  if (!embeds.defined()) return;
  const bool fits =
      embeds.rank() == 3 && embeds.dim(0) == prompts && embeds.dim(2) == width && (tokens == 0 || embeds.dim(1) == tokens) && embeds.dim(1) > 0;
  if (!fits)
    throw UsageError(cat(name, " has shape ", to_string(embeds.shape()), ": expected [", prompts, ", ", tokens ? std::to_string(tokens) : "tokens",
                         ", ", width, "]"));
}

// Which classes a picture, a video or a mask to begin with is for.
struct Beginning {
  std::string_view argument;
  Task task;
};
constexpr Beginning kBeginnings[] = {
    {"mask_image", Task::inpainting}, {"video", Task::video_to_video}, {"image", Task::image_to_image}};  // the one that says most first

// "; a FluxImg2ImgPipeline, which the same parts make, takes image"; where they make none, the classes that do, and those that these parts make.
std::string who_takes(const Beginning& wanted, const Family& own) {
  std::vector<std::string> others, made;
  for (const Family& family : families()) {
    const bool same_parts = !own.model.empty() && family.model == own.model && family.controlled == own.controlled;
    const bool takes = family.task == wanted.task && family.controlled == own.controlled && family.videos == own.videos;
    if (same_parts && takes) return cat("; a ", family.class_name, ", which the same parts make, takes ", wanted.argument);
    if (takes) others.emplace_back(family.class_name);
    if (!same_parts && &family != &own) continue;
    const auto begins = std::ranges::find(kBeginnings, family.task, &Beginning::task);
    made.push_back(begins == std::end(kBeginnings) ? std::string(family.class_name) : cat(family.class_name, " (by ", begins->argument, ')'));
  }
  return cat(others.empty() ? "" : cat("; ", wanted.argument, " is for a ", joined(others, " or a ")), "; these parts make a ",
             joined(made, " or a "));
}

}  // namespace

void check_taken(const CallOptions& options, std::string_view class_name, std::span<const std::string_view> taken) {
  std::string wrong;
  for (const Argument& argument : kArguments)
    if (argument.given(options) && !std::ranges::count(taken, argument.name)) wrong += cat(wrong.empty() ? "" : ", ", argument.name);
  // Given to a pipeline that has none, whatever its class is otherwise.
  const bool wants_controlnet = !options.control_image.empty() && !std::ranges::count(taken, "control_image");
  if (wrong.empty()) return;
  std::string text = cat("a ", class_name, " does not take ", wrong,
                         wants_controlnet ? ": a control_image is for ControlNets, which --controlnet (PretrainedOptions::controlnet) names" : "");
  const auto own = std::ranges::find(families(), class_name, &Family::class_name);
  const auto begins = std::ranges::find_if(kBeginnings, [&](const Beginning& beginning) {
    return is_given(options, beginning.argument) && !std::ranges::count(taken, beginning.argument);
  });
  if (own != families().end() && begins != std::end(kBeginnings)) text += who_takes(*begins, *own);
  throw UsageError(text);
}

std::vector<std::string> unused_arguments(const Call& call) {
  std::vector<std::string> unused;
  for (const Dependence& d : kDependences)
    if (d.argument.given(call.options) && !d.counts(call)) unused.push_back(cat(d.argument.name, " changes nothing: ", d.otherwise));
  return unused;
}

void check_size(int64_t value, const char* name, int64_t multiple) {
  if (value <= 0 || value % multiple || value > kLargestSide)
    throw UsageError(cat(name, " is ", value, ": expected a positive multiple of ", multiple, " (the VAE's scale) up to ", kLargestSide,
                         "; the nearest is ",
                         std::clamp<int64_t>((std::min(value, kLargestSide) + multiple / 2) / multiple, 1, kLargestSide / multiple) * multiple));
}

int64_t count_prompts(const Prompts& prompt, const CallOptions& o, int64_t width) {
  if (o.prompt_embeds.defined() && !prompt.empty()) throw UsageError("prompt and prompt_embeds are both given: choose one");
  if (o.negative_prompt && o.negative_prompt_embeds.defined())
    throw UsageError("negative_prompt and negative_prompt_embeds are both given: choose one");
  if (!o.prompt_embeds.defined() && prompt.empty()) throw UsageError("prompt is empty: give at least one text (\"\" is one)");
  const int64_t count = o.prompt_embeds.defined() && o.prompt_embeds.rank() > 0 ? o.prompt_embeds.dim(0) : static_cast<int64_t>(prompt.size());
  if (o.prompt_embeds.defined() && count == 0) throw UsageError("prompt_embeds has no rows: expected one a prompt");
  check_embeds(o.prompt_embeds, "prompt_embeds", count, 0, width);
  check_embeds(o.negative_prompt_embeds, "negative_prompt_embeds", count, o.prompt_embeds.defined() ? o.prompt_embeds.dim(1) : 0, width);
  return count;
}

Call resolve_common(const Prompts& prompt, const CallOptions& o, int64_t prompts, Size own, int64_t scale) {
  Call c{.options = o, .prompt = prompt, .prompts = prompts};
  c.height = o.height ? o.height : own.first;
  c.width = o.width ? o.width : own.second;
  check_size(c.height, "height", scale);
  check_size(c.width, "width", scale);
  if (o.num_images_per_prompt < 1 || o.num_images_per_prompt > kMostImages)
    throw UsageError(cat("num_images_per_prompt is ", o.num_images_per_prompt, ": expected 1 to ", kMostImages));
  c.images = prompts * o.num_images_per_prompt;
  if (o.guidance_scale && !std::isfinite(*o.guidance_scale)) throw UsageError("guidance_scale is not a finite number");
  if (!(o.guidance_rescale >= 0 && o.guidance_rescale <= 1)) throw UsageError(cat("guidance_rescale is ", o.guidance_rescale, ": expected 0 to 1"));
  if (!(o.eta >= 0 && o.eta <= 1)) throw UsageError(cat("eta is ", o.eta, ": expected 0 to 1"));
  // 0 and 1 mean the end, as everything outside of the range does in Diffusers.
  if (o.denoising_end && !(*o.denoising_end >= 0 && *o.denoising_end <= 1))
    throw UsageError(cat("denoising_end is ", *o.denoising_end, ": expected a fraction between 0 and 1"));
  if (!o.timesteps.empty() && !o.sigmas.empty()) throw UsageError("timesteps and sigmas are both given: choose one");
  for (const std::string& name : o.callback_on_step_end_tensor_inputs)
    if (name != "latents") throw UsageError(cat("callback_on_step_end_tensor_inputs has \"", name, "\": expected \"latents\", or nothing"));
  if (o.clip_skip && (*o.clip_skip < 0 || *o.clip_skip > kMostLayers))
    throw UsageError(cat("clip_skip is ", *o.clip_skip, ": expected 0 to ", kMostLayers));
  return c;
}

void check_pooled(const Tensor& pooled, const char* name, const Tensor& embeds, const char* beside, int64_t width) {
  if (embeds.defined() != pooled.defined()) throw UsageError(cat(name, " and ", beside, " go together: give both or neither"));
  if (pooled.defined() && pooled.shape() != Shape{embeds.dim(0), width})
    throw UsageError(cat(name, " has shape ", to_string(pooled.shape()), ": expected ", to_string(Shape{embeds.dim(0), width})));
}

}  // namespace vivace
