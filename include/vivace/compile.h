// How a component is compiled: the options of torch.compile and of torch._inductor.config, under their names.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace vivace {

// off: eager, the same road with the optional passes switched off. default_: every optional pass that keeps the result to rounding.
// max_autotune: Winograd convolutions too, unless `exact`. There are no CUDA graphs on a CPU: reduce_overhead is default_ there, and
// max_autotune_no_cudagraphs is max_autotune.
enum class CompileMode { off, default_, reduce_overhead, max_autotune, max_autotune_no_cudagraphs };

// "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs". Throws UsageError for another name.
CompileMode parse_compile_mode(const std::string& name);
std::string compile_mode_name(CompileMode mode);

// Backends of scaled dot-product attention, as torch.nn.attention.SDPBackend names them.
enum class SDPBackend { automatic, flash, efficient, math };
SDPBackend parse_sdp_backend(const std::string& name);
std::string sdp_backend_name(SDPBackend backend);

// torch._inductor.config's flags, under their names.
struct CompilerFlags {
  // The scales of an int8 GEMM are multiplied in its epilogue, with bias, activation and residual; false: its sums go through memory first.
  bool force_fuse_int_mm_with_mul = true;
  // Weights stored narrower than the activations are widened inside the GEMM; false: as a whole, before it.
  bool use_mixed_mm = true;
};
// The process's defaults, as torch._inductor.config: what CompileOptions made from now on begin with.
inline CompilerFlags config;

// What a linear layer is computed with. int8_dynamic: weights int8 with a scale per output channel, activations int8 with a scale per token, found at
// run time. weight_only: narrow weights with a scale per output channel, widened as they are read.
enum class Quantization { none, int8_dynamic, int8_weight_only, float8_weight_only };
// "int8-dynamic", "int8-weight-only", "float8-weight-only". Throws UsageError for another name.
Quantization parse_quantization(const std::string& name);
std::string quantization_name(Quantization kind);

struct CompileOptions {
  CompileMode mode = CompileMode::off;
  // An op without a compiled kernel is an error that names it, instead of a graph break.
  bool fullgraph = false;
  // Optional passes to leave out, by name (see `vivace explain --passes`).
  std::vector<std::string> disable_passes;
  SDPBackend sdpa = SDPBackend::automatic;
  // No kernel whose error is above that of the plain one (no Winograd).
  bool exact = false;
  CompilerFlags flags = config;
  // By layer, the module's name: "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q". quantize.h fills it.
  std::map<std::string, Quantization> quantize;
  // One plan for any batch, height, width and number of tokens, instead of one a size. With use_duck_shape
  // (torch.fx.experimental._config), sizes that are equal in the first call share a symbol: a call where they differ compiles once more.
  bool dynamic = false, use_duck_shape = true;
  // Convolutions that never run as Winograd, by layer, whatever the mode: "mid_block.resnets.0.conv1".
  std::vector<std::string> direct_convolutions;
};

}  // namespace vivace
