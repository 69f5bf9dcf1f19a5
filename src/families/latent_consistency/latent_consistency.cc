#include "families/latent_consistency/latent_consistency.h"

#include "base/log.h"
#include "families/common/arguments.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kTaken[] = {"prompt_embeds", "timesteps", "original_inference_steps", "guidance_scale", "clip_skip"};

}  // namespace

LatentConsistencyModelRecipe::LatentConsistencyModelRecipe(const Parts& parts) : StableDiffusionRecipe(parts, {.guidance_scale = 8.5}) {
  if (!is_guidance_distilled())
    throw UserError(cat(parts.folder("unet"), " does not take guidance as a condition (time_cond_proj_dim): a ", parts.class_name,
                        " needs a UNet that was distilled so; a LoRA of latent consistency belongs to a StableDiffusionPipeline"));
}

Call LatentConsistencyModelRecipe::resolve(const Prompts& prompt, const CallOptions& o) const {
  check_taken(o, parts_.class_name, kTaken);
  return resolve_call(prompt, o, count_prompts(prompt, o, unet_.config().cross_attention_dim));
}

Family latent_consistency_family() {
  Family family = stable_diffusion_family();
  family.class_name = "LatentConsistencyModelPipeline";
  family.open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<LatentConsistencyModelRecipe>(parts); };
  family.scheduler_corrections = nullptr;
  family.model = {};
  return family;
}

}  // namespace vivace
