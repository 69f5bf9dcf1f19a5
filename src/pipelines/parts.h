// What a pipeline holds.
#pragma once

#include <optional>

#include "components/models.h"
#include "tokenizers/clip_tokenizer.h"
#include "vivace/pipeline.h"

namespace vivace {

struct DiffusionPipeline::Parts {
  std::string class_name, path;
  bool is_xl = false, force_zeros_for_empty_prompt = true;
  std::optional<CLIPTokenizer> tokenizer, tokenizer_2;
  std::optional<CLIPTextModel> text_encoder, text_encoder_2;
  std::optional<UNet2DConditionModel> unet;
  std::optional<AutoencoderKL> vae;
  std::unique_ptr<Scheduler> scheduler;

  const UNetComponent& unet_component() const { return static_cast<const UNetComponent&>(unet->component()); }
  const CLIPTextComponent& text_component(int encoder) const { return static_cast<const CLIPTextComponent&>((encoder == 2 ? text_encoder_2 : text_encoder)->component()); }
  const VAEComponent& vae_component() const { return static_cast<const VAEComponent&>(vae->component()); }
};

}  // namespace vivace
