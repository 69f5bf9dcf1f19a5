// Quantisation of a model's linear layers, as torchao does it for Diffusers' guide: apply_dynamic_quant with a filter, and narrow weights.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vivace/api.h"
#include "vivace/models.h"

namespace vivace VIVACE_API {

// A linear layer as a filter sees it. 1x1 convolutions are such too in a model that is compiled with conv_1x1_as_mm, or that is not compiled yet
// while vivace::config has that flag.
struct LinearInfo {
  std::string name;  // of the module: "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
  int64_t in_features = 0, out_features = 0;
  std::string block_class;  // Diffusers' class of the innermost block around it: "BasicTransformerBlock"; "" for none
};

// Whether to quantise a layer.
using QuantizeFilter = std::function<bool(const LinearInfo&)>;

bool quantize_all(const LinearInfo& layer);
// The guide's filter: leaves out the sizes that did not gain on the GPU it was made for.
bool dynamic_quant_filter_fn(const LinearInfo& layer);

// For transformers (FLUX, AuraFlow): the linear layers of the repeated blocks, without those that make the modulation of their norms. What embeds
// timesteps, texts and latents, and what makes the prediction of the last block's result, keeps its precision.
bool transformer_quant_filter_fn(const LinearInfo& layer);

// A filter as text: "all"; "dynamic_quant_filter_fn"; "transformer_quant_filter_fn"; the name of a file with a layer's name a line ("#" begins a
// comment); or terms that must all hold, joined by commas: in>=640, out<=1280 (also =, <, >), name~attn1 (contains), class=BasicTransformerBlock.
// Throws UsageError for anything else, UserError for a file that cannot be read.
QuantizeFilter parse_quantize_filter(const std::string& text);

// Weights of 8 bits with a scale per output channel, activations with a scale per token, found at run time. Returns the layers' names; warns when the
// filter matches none. Holds for later calls, whatever compile() is given. Throws UserError where the CPU has no AVX2, UsageError for a model whose
// checkpoint is quantised already.
// kind: int8_dynamic, int8_dynamic_rotated or float8_dynamic.
std::vector<std::string> apply_dynamic_quant(Model& model, const QuantizeFilter& filter, Quantization kind = Quantization::int8_dynamic);
// With the measured filter: a layer is quantised where its int8 product is the faster one on this machine, at the model's own picture size, and its
// error small: at most kMaxDrift, the relative RMS error of the product with 16 rows of normal numbers (of up to 64 output channels). float8_dynamic
// takes every layer: its error is above that for all, and what is fast is a GPU's affair.
inline constexpr double kMaxDrift = 0.02;
std::vector<std::string> apply_dynamic_quant(Model& model, Quantization kind = Quantization::int8_dynamic);

// Weights stored as int8 or float8_e4m3 with a scale per output channel and widened inside the GEMM: for memory. Otherwise as above.
std::vector<std::string> quantize_weight_only(Model& model, DType storage = DType::int8, const QuantizeFilter& filter = quantize_all);

}  // namespace VIVACE_API
