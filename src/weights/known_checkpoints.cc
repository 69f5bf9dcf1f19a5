#include "weights/known_checkpoints.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A tensor that is there, and its size along an axis (0: whatever it is).
struct Trait {
  std::string_view name;
  int64_t axis1 = 0;
};

struct KnownCheckpoint {
  std::string_view configs;  // empty: known, and not run
  std::string_view title;    // for messages
  std::vector<Trait> traits;
};

// The first whose traits are all there is meant. What a model reads of its text encoder tells the UNets apart: 768 numbers a token of CLIP-L, 1024 of
// OpenCLIP-H, 1280 of bigG, 2048 of two.
const std::vector<KnownCheckpoint>& known() {
  constexpr std::string_view kIn = "input_blocks.0.0.weight", kText = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
                             kTextXL = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
                             kDeepXL = "middle_block.1.transformer_blocks.9.attn2.to_k.weight";
  constexpr std::string_view kOurIn = "conv_in.weight", kOurText = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                             kOurTextXL = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                             kOurDeepXL = "mid_block.attentions.0.transformer_blocks.9.attn2.to_k.weight";
  constexpr std::string_view kFlux = "double_blocks.18.img_attn.qkv.weight", kFluxLast = "single_blocks.37.linear1.weight";
  constexpr std::string_view kOurFlux = "transformer_blocks.18.attn.add_q_proj.weight", kOurFluxLast = "single_transformer_blocks.37.proj_mlp.weight";
  static const std::vector<KnownCheckpoint> list{
      {"sdxl-inpainting", "Stable Diffusion XL inpainting", {{kIn, 9}, {kTextXL, 2048}, {kDeepXL}}},
      // Of SDXL's tensors, with a schedule and latents of its own.
      {"", "Playground v2.5", {{kIn, 4}, {kTextXL, 2048}, {"edm_mean"}}},
      {"sdxl-base", "Stable Diffusion XL", {{kIn, 4}, {kTextXL, 2048}, {kDeepXL}}},
      {"sdxl-refiner", "Stable Diffusion XL's refiner", {{kIn, 4}, {kTextXL, 1280}}},
      {"sd-v2-inpainting", "Stable Diffusion 2 inpainting", {{kIn, 9}, {kText, 1024}}},
      {"sd-v2-1", "Stable Diffusion 2", {{kIn, 4}, {kText, 1024}}},
      {"sd-v1-5-inpainting", "Stable Diffusion 1.5 inpainting", {{kIn, 9}, {kText, 768}}},
      {"sd-v1-5", "Stable Diffusion 1.5", {{kIn, 4}, {kText, 768}}},
      // The same under Diffusers' names.
      {"sdxl-inpainting", "Stable Diffusion XL inpainting", {{kOurIn, 9}, {kOurTextXL, 2048}, {kOurDeepXL}}},
      {"sdxl-base", "Stable Diffusion XL", {{kOurIn, 4}, {kOurTextXL, 2048}, {kOurDeepXL}}},
      {"sdxl-refiner", "Stable Diffusion XL's refiner", {{kOurIn, 4}, {kOurTextXL, 1280}}},
      {"sd-v2-inpainting", "Stable Diffusion 2 inpainting", {{kOurIn, 9}, {kOurText, 1024}}},
      {"sd-v2-1", "Stable Diffusion 2", {{kOurIn, 4}, {kOurText, 1024}}},
      {"sd-v1-5-inpainting", "Stable Diffusion 1.5 inpainting", {{kOurIn, 9}, {kOurText, 768}}},
      {"sd-v1-5", "Stable Diffusion 1.5", {{kOurIn, 4}, {kOurText, 768}}},
      {"", "FLUX.1 Fill", {{kFlux}, {"img_in.weight", 384}}},
      {"", "FLUX.1 Depth or Canny", {{kFlux}, {"img_in.weight", 128}}},
      {"", "Chroma", {{kFlux}, {"distilled_guidance_layer.in_proj.weight"}}},
      {"flux-dev", "FLUX.1 dev", {{kFlux}, {kFluxLast}, {"img_in.weight", 64}, {"guidance_in.in_layer.weight"}}},
      {"flux-schnell", "FLUX.1 schnell", {{kFlux}, {kFluxLast}, {"img_in.weight", 64}}},
      {"flux-dev", "FLUX.1 dev", {{kOurFlux}, {kOurFluxLast}, {"x_embedder.weight", 64}, {"time_text_embed.guidance_embedder.linear_1.weight"}}},
      {"flux-schnell", "FLUX.1 schnell", {{kOurFlux}, {kOurFluxLast}, {"x_embedder.weight", 64}}},
      {"", "FLUX.2", {{"double_stream_modulation_img.lin.weight"}}},
      {"", "Stable Diffusion 3", {{"joint_blocks.0.context_block.attn.qkv.weight"}}},
      {"", "a distilled or pruned Stable Diffusion XL", {{kIn}, {kTextXL, 2048}}},
      {"", "Stable Cascade", {{"clip_txt_mapper.weight"}}},
      {"", "AuraFlow", {{"double_layers.0.attn.w1q.weight"}}},
  };
  return list;
}

constexpr const char* kExpected =
    "expected Stable Diffusion 1.x, 2.x or XL, or FLUX.1 dev or schnell, in their original names or Diffusers'; --config FOLDER names the configs of "
    "another model of these kinds";

}  // namespace

std::string_view known_checkpoint(std::span<const WeightInfo> tensors, const std::string& file) {
  constexpr std::string_view kDenoiser = "model.diffusion_model.";
  std::map<std::string_view, Shape> shapes;
  for (const WeightInfo& tensor : tensors) {
    std::string_view name = tensor.name;
    if (name.starts_with(kDenoiser)) name.remove_prefix(kDenoiser.size());
    shapes.emplace(name, values_shape(tensor));
  }
  const auto has = [&](const Trait& trait) {
    const auto found = shapes.find(trait.name);
    return found != shapes.end() && (trait.axis1 == 0 || (found->second.size() > 1 && found->second[1] == trait.axis1));
  };
  for (const KnownCheckpoint& checkpoint : known()) {
    if (!std::ranges::all_of(checkpoint.traits, has)) continue;
    if (checkpoint.configs.empty()) throw UserError(cat(file, ": it holds ", checkpoint.title, ", which is not supported: ", kExpected));
    return checkpoint.configs;
  }
  if (std::ranges::any_of(tensors, [](const WeightInfo& t) { return t.name.find("lora_") != std::string::npos; }))
    throw UserError(cat(file, ": it holds a LoRA, not a model: load it over a model"));
  throw UserError(cat(file, ": its ", tensors.size(), " tensors are of no model that is known by them",
                      tensors.empty() ? "" : cat(" (\"", tensors[0].name, "\", ...)"), ": ", kExpected));
}

FilePrediction file_prediction(std::span<const WeightInfo> tensors, const Metadata& metadata) {
  FilePrediction said;
  for (const WeightInfo& tensor : tensors) {
    if (tensor.name == "v_pred") said.type = "v_prediction";
    if (tensor.name == "ztsnr") said.zero_snr = true;
  }
  if (const auto found = metadata.find("modelspec.prediction_type"); found != metadata.end() && said.type.empty()) {
    if (found->second == "v" || found->second == "v_prediction") said.type = "v_prediction";
    if (found->second == "epsilon") said.type = "epsilon";
  }
  return said;
}

}  // namespace vivace
