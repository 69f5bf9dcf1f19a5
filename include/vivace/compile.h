// How a component is compiled: the options of torch.compile and of torch._inductor.config, under their names.
#pragma once

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

struct CompileOptions {
  CompileMode mode = CompileMode::off;
  // An op without a compiled kernel is an error that names it, instead of a graph break.
  bool fullgraph = false;
  // Optional passes to leave out, by name (see `vivace explain --passes`).
  std::vector<std::string> disable_passes;
  SDPBackend sdpa = SDPBackend::automatic;
  // No kernel whose error is above that of the plain one (no Winograd).
  bool exact = false;
};

}  // namespace vivace
