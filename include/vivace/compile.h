// How a component is compiled: the options of torch.compile and of torch._inductor.config, under their names.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vivace/api.h"
#include "vivace/dtype.h"

namespace vivace VIVACE_API {

// off: eager, the same road with the optional passes switched off. default_: every optional pass that keeps the result to rounding.
// max_autotune: kernels and their parameters by measurement, and faster algorithms within the error budget. On a GPU reduce_overhead and max_autotune
// run a step as one CUDA graph. There are none on a CPU: reduce_overhead is default_ there, and max_autotune_no_cudagraphs is max_autotune.
enum class CompileMode { off, default_, reduce_overhead, max_autotune, max_autotune_no_cudagraphs };

// "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs". Throws UsageError for another name.
CompileMode parse_compile_mode(const std::string& name);
std::string compile_mode_name(CompileMode mode);
inline bool is_max_autotune(CompileMode mode) { return mode == CompileMode::max_autotune || mode == CompileMode::max_autotune_no_cudagraphs; }

// Backends of scaled dot-product attention, as torch.nn.attention.SDPBackend names them, and int8, whose products are of integers: faster, at a
// relative error of about 1 % of an attention's result.
enum class SDPBackend { automatic, flash, efficient, math, int8 };

// Which of them may be taken: flash, efficient and math (automatic), one, or several. The first that takes a shape runs it, in the order int8, flash,
// efficient, math.
class SDPBackends {
 public:
  SDPBackends(SDPBackend one = SDPBackend::automatic) { allow(one); }
  SDPBackends(std::initializer_list<SDPBackend> several);
  void allow(SDPBackend backend);
  bool allows(SDPBackend backend) const { return bits_ & bit(backend); }
  bool all() const;
  bool operator==(const SDPBackends&) const = default;

 private:
  static unsigned bit(SDPBackend backend) { return 1u << static_cast<int>(backend); }
  unsigned bits_ = 0;
};
// "auto", "flash", "efficient", "math", "int8", or several with commas. Throws UsageError for another name.
SDPBackends parse_sdp_backends(const std::string& names);
std::string sdp_backends_name(const SDPBackends& backends);

// torch.nn.attention.sdpa_kernel: while it lives, components that this thread calls may take these backends alone, whatever they were compiled with.
// Scopes nest; the innermost counts. They end in the reverse order of their beginning.
class sdpa_kernel {
 public:
  explicit sdpa_kernel(const SDPBackends& backends);
  ~sdpa_kernel();
  sdpa_kernel(const sdpa_kernel&) = delete;
  sdpa_kernel& operator=(const sdpa_kernel&) = delete;

  // Of this thread; nothing outside any scope.
  static const std::optional<SDPBackends>& current();

 private:
  std::optional<SDPBackends> previous_;
};

// How products of float32 matrices may be formed (torch.set_float32_matmul_precision), where that is faster. high: from AVX2 on as products of int16,
// rows of both factors having a scale each, whose relative error of 9e-6 times the square root of the inputs is about that of TF32 (3e-4); with AMX
// as three products of bfloat16 halves, about 16 bits. medium: the same, and convolutions by Winograd too where nothing multiplies bfloat16; where
// something does, convolutions, and with AMX linears, as bfloat16, about 8 bits.
enum class MatmulPrecision { highest, high, medium };
MatmulPrecision parse_matmul_precision(const std::string& name);
std::string matmul_precision_name(MatmulPrecision precision);
// The process's setting: what CompileOptions begin with. "highest" at first.
void set_float32_matmul_precision(const std::string& name);
std::string get_float32_matmul_precision();

namespace backends::cuda::matmul {
// torch.backends.cuda.matmul.allow_tf32, the older name of the same setting: true is "high", false "highest". A CPU has no TF32: what "high" is there
// stands in.
struct AllowTF32 {
  operator bool() const;
  const AllowTF32& operator=(bool allow) const;
};
inline constexpr AllowTF32 allow_tf32{};
}  // namespace backends::cuda::matmul
namespace backends::cudnn {
// torch.backends.cudnn.allow_tf32: whether a GPU may multiply float32 convolutions as TF32. Of the process, true at first; it tells plans apart.
struct AllowTF32 {
  operator bool() const;
  const AllowTF32& operator=(bool allow) const;
};
inline constexpr AllowTF32 allow_tf32{};
}  // namespace backends::cudnn

// What a linear layer is computed with. int8_dynamic: weights int8 with a scale per output channel, activations int8 with a scale per token, found at
// run time; rotated: both are first turned by a Hadamard matrix in blocks of up to 256 features, which leaves their product as it is and spreads an
// outlier over its block, so that the other features keep their bits. float8_dynamic: the same in float8_e4m3, as torchao's
// Float8DynamicActivationFloat8WeightConfig with PerRow has it: fast where a GPU multiplies float8; elsewhere the same numbers are multiplied as
// bfloat16 or float32. weight_only: narrow weights with a scale per output channel, widened as they are read.
enum class Quantization { none, int8_dynamic, int8_dynamic_rotated, int8_weight_only, float8_weight_only, float8_dynamic };
inline bool multiplies_int8(Quantization kind) { return kind == Quantization::int8_dynamic || kind == Quantization::int8_dynamic_rotated; }
// The dtype that a weight is kept in.
inline DType stored_dtype(Quantization kind) {
  return kind == Quantization::float8_dynamic || kind == Quantization::float8_weight_only ? DType::float8_e4m3 : DType::int8;
}
// "int8-dynamic", "int8-dynamic-rotated", "float8-dynamic", "int8-weight-only", "float8-weight-only". Throws UsageError for another name.
Quantization parse_quantization(const std::string& name);
std::string quantization_name(Quantization kind);

// Switches of torch._inductor.config, under its names and with its defaults but for force_fuse_int_mm_with_mul.
struct CompilerFlags {
  bool conv_1x1_as_mm = false;  // 1x1 convolutions are GEMMs
  // max-autotune: from the best setting of its list the search walks on to better neighbours, one parameter of the kernel at a time.
  bool coordinate_descent_tuning = false;
  // Then it looks at all combinations of neighbours too, where single steps find nothing better.
  bool coordinate_descent_check_all_directions = false;
  bool epilogue_fusion = true;  // bias, activation, gate and residual in the epilogue of what comes before
  // The scales of an int8 GEMM are multiplied in its epilogue. Inductor's default is false, because there the choice of a Triton template can cost
  // more than it saves; our GEMM has that epilogue anyway, and without it the int32 sums would travel through memory.
  bool force_fuse_int_mm_with_mul = true;
  bool use_mixed_mm = true;  // weights stored narrower than the activations are widened inside the GEMM
  bool operator==(const CompilerFlags&) const = default;
};
// The process's defaults, as torch._inductor.config: what CompileOptions made from now on begin with.
extern CompilerFlags config;
// "name=value" with value true or false. Throws UsageError for another name or value.
void set_compiler_flag(CompilerFlags& flags, const std::string& assignment);

// How far a search for kernels is.
struct AutotuneProgress {
  int done = 0, total = 0;  // different calls of kernels
  double seconds = 0, budget = 0;
};

// In max-autotune: which error a layer's kernel may have beyond that of the plain one, as relative RMS error of its result. Convolutions by Winograd,
// linear layers by Strassen and products of int16 are ways to spend it; each knows its own error and is refused where it is above the budget
// (`vivace explain` says so; docs/error-budget.md has the figures). 0: none, the plain kernels alone.
struct ErrorBudget {
  ErrorBudget() = default;
  ErrorBudget(double each) : each_layer(each) {}

  // Of every layer. Unset: 2e-6 where activations are float32, else what the dtype's own rounding makes invisible: 5e-3, of products of int16 1e-3 in
  // bfloat16 and none in float16.
  std::optional<double> each_layer;
  // Of single ones instead, by the module's name: "mid_block.resnets.0.conv1".
  std::map<std::string, double> layers;

  // Nothing may be spent anywhere.
  bool empty() const;
};

struct CompileOptions {
  CompileMode mode = CompileMode::off;
  // An op without a compiled kernel is an error that names it, instead of a graph break.
  bool fullgraph = false;
  // Optional passes to leave out, by name (see `vivace explain --passes`).
  std::vector<std::string> disable_passes;
  SDPBackends sdpa;
  ErrorBudget error_budget;
  CompilerFlags flags = config;
  // By layer, the module's name: "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q". quantize.h fills it.
  std::map<std::string, Quantization> quantize;
  // One plan for any batch, height, width and number of tokens, instead of one a size. With use_duck_shape
  // (torch.fx.experimental._config), sizes that are equal in the first call share a symbol: a call where they differ compiles once more.
  bool dynamic = false, use_duck_shape = true;
  // fuse_qkv_projections(): the projections of an attention that read the same value (Q, K, V; K, V) are one GEMM, even with `mode` off.
  bool fuse_qkv = false;
  MatmulPrecision float32_matmul_precision = parse_matmul_precision(get_float32_matmul_precision());
  // max-autotune: the most a component's search may take, for each size that it meets; the best so far wins. 0: nothing is timed, what earlier
  // searches found is used and the list's order otherwise.
  double autotune_seconds = 60;
  // Regional compilation: the classes of blocks that are compiled, each kind once, while the rest stays eager: "BasicTransformerBlock", or "auto" for
  // whatever repeats. Empty: the whole graph is compiled. See Model::compile_repeated_blocks and compile_regions.
  std::vector<std::string> regions;
  // Called after each call that was timed, from the thread that compiles.
  std::function<void(const AutotuneProgress&)> on_autotune;
};

}  // namespace VIVACE_API
