// Prompts -> what the UNet is conditioned on (StableDiffusionXLPipeline.encode_prompt, StableDiffusionPipeline.encode_prompt).
#pragma once

#include "pipelines/parts.h"

namespace vivace {

// float32; rows are images: prompt 0's images, then prompt 1's, ...
struct PromptEmbeddings {
  Tensor prompt_embeds, negative_prompt_embeds;                // [N, T, D]; the second only with guidance
  Tensor pooled_prompt_embeds, negative_pooled_prompt_embeds;  // [N, P], SDXL alone
};

PromptEmbeddings encode_prompt(const DiffusionPipeline::Parts& parts, const Prompts& prompt, const CallOptions& options, bool guidance, Request& request);

// Token ids [N, 77] with a warning for each prompt that was cut.
Tensor tokenize(const CLIPTokenizer& tokenizer, const Prompts& prompts);

}  // namespace vivace
