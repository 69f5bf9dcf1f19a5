#include "call_files.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "tensor/npy.h"
#include "vivace/error.h"

namespace vivace::cli {

namespace {

// Bytes, or the -1..1 of a model, would be cut to white and black.
void check_colours(Tensor& values, const std::string& file) {
  values = values.to(DType::float32);
  if (values.numel() == 0) return;  // refused as what it is
  const auto [least, most] = std::ranges::minmax(values.floats());
  if (!(least >= 0 && most <= 1)) throw UserError(cat(file, ": its values are from ", least, " to ", most, ": expected a picture's from 0 to 1"));
}

}  // namespace

ImageInput load_image_input(const std::vector<std::string>& files) {
  ImageInput input;
  for (const std::string& file : files) {
    if (std::filesystem::path(file).extension() != ".npy") {
      input.images.push_back(Image::load(file));
      continue;
    }
    Tensor values = load_npy(file);
    if (values.rank() == 3 && values.dim(2) == 3) {
      check_colours(values, file);
      input.images.push_back(Image::from_tensor(std::move(values)));
      continue;
    }
    if (values.rank() != 4)
      throw UserError(cat(file, ": shape ", to_string(values.shape()), ": expected a picture [H, W, 3] or latents [N, C, h, w]"));
    if (files.size() > 1) throw UsageError(cat(file, " holds latents: expected no other --image beside it"));
    input.latents = std::move(values);
  }
  return input;
}

void TensorFiles::add(Arguments& app) {
  app.group(Group::tensors);
  app.add_option("--latents", latents, "Noise to begin with, of unit variance, instead of drawn: [N, C, h, w], packed for FLUX");
  app.add_option("--prompt-embeds", prompt_embeds, "An encoded prompt instead of a text: [prompts, tokens, width]");
  app.add_option("--negative-prompt-embeds", negative_prompt_embeds, "Likewise");
  app.add_option("--pooled-prompt-embeds", pooled_prompt_embeds, "The pooled form, where the model takes one: [prompts, width]");
  app.add_option("--negative-pooled-prompt-embeds", negative_pooled_prompt_embeds, "Likewise");
  app.add_option("--masked-image-latents", masked_image_latents, "With --mask-image: what is left of the picture, encoded");
  app.add_option("--output-type", output_type, "pil: pictures; latent: the latents [N, C, h, w], not decoded, to a .npy file, which --image takes")
      .show_default();
}

void TensorFiles::apply(CallOptions& call) const {
  if (output_type != "pil" && output_type != "latent")
    throw UsageError(cat("--output-type is \"", output_type, "\": expected pil or latent (for numbers name the output .npy)"));
  call.output_latent = latents_out();
  const std::pair<const std::string&, Tensor&> files[] = {{latents, call.latents},
                                                          {prompt_embeds, call.prompt_embeds},
                                                          {negative_prompt_embeds, call.negative_prompt_embeds},
                                                          {pooled_prompt_embeds, call.pooled_prompt_embeds},
                                                          {negative_pooled_prompt_embeds, call.negative_pooled_prompt_embeds},
                                                          {masked_image_latents, call.masked_image_latents}};
  for (const auto& [file, tensor] : files)
    if (!file.empty()) tensor = load_npy(file);
}

}  // namespace vivace::cli
