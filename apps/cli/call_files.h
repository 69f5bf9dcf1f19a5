// The files that a call's pictures and tensors come from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "vivace/pipeline.h"

namespace vivace::cli {

// PNG, JPEG, or .npy: a picture [H, W, 3] in 0..1, or latents [N, C, h, w], which must be the only file. Throws UserError, UsageError.
ImageInput load_image_input(const std::vector<std::string>& files);

// What Diffusers' calls take as tensors, each a .npy file, and what they give as one.
struct TensorFiles {
  std::string latents, prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds, masked_image_latents;
  std::string output_type = "pil";

  void add(Arguments& app);
  bool latents_out() const { return output_type == "latent"; }
  // Throws UserError for a file, UsageError for an output_type that is none.
  void apply(CallOptions& call) const;
};

}  // namespace vivace::cli
