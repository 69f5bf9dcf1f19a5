#include <algorithm>
#include <array>
#include <atomic>
#include <iomanip>
#include <ranges>
#include <sstream>
#include <type_traits>

#include "base/log.h"
#include "compiler/compile.h"
#include "vivace/compile.h"
#include "vivace/error.h"

namespace vivace {
namespace {

template <class Enum, size_t N>
Enum find_name(const std::array<std::pair<const char*, Enum>, N>& table, const std::string& name, const char* what) {
  std::string known;
  for (const auto& [text, value] : table) {
    if (name == text) return value;
    known += cat(known.empty() ? "" : ", ", text);
  }
  throw UsageError(cat("unknown ", what, " \"", name, "\": expected one of ", known));
}

constexpr std::array<std::pair<const char*, CompileMode>, 5> kModes{{{"off", CompileMode::off},
                                                                     {"default", CompileMode::default_},
                                                                     {"reduce-overhead", CompileMode::reduce_overhead},
                                                                     {"max-autotune", CompileMode::max_autotune},
                                                                     {"max-autotune-no-cudagraphs", CompileMode::max_autotune_no_cudagraphs}}};
constexpr std::array<std::pair<const char*, SDPBackend>, 5> kBackends{{{"auto", SDPBackend::automatic},
                                                                       {"flash", SDPBackend::flash},
                                                                       {"efficient", SDPBackend::efficient},
                                                                       {"math", SDPBackend::math},
                                                                       {"int8", SDPBackend::int8}}};

constexpr std::array<std::pair<const char*, Quantization>, 5> kQuantizations{{{"int8-dynamic", Quantization::int8_dynamic},
                                                                              {"int8-dynamic-rotated", Quantization::int8_dynamic_rotated},
                                                                              {"float8-dynamic", Quantization::float8_dynamic},
                                                                              {"int8-weight-only", Quantization::int8_weight_only},
                                                                              {"float8-weight-only", Quantization::float8_weight_only}}};
constexpr std::array<std::pair<const char*, MatmulPrecision>, 3> kPrecisions{
    {{"highest", MatmulPrecision::highest}, {"high", MatmulPrecision::high}, {"medium", MatmulPrecision::medium}}};

template <class Enum, size_t N>
std::string name_of(const std::array<std::pair<const char*, Enum>, N>& table, Enum value) {
  return std::ranges::find(table, value, &std::pair<const char*, Enum>::second)->first;
}

std::optional<SDPBackends>& scope() {
  static thread_local std::optional<SDPBackends> current;
  return current;
}

std::atomic<MatmulPrecision> process_precision{MatmulPrecision::highest};
std::atomic<bool> convolutions_in_tf32{true};

constexpr std::array<std::pair<const char*, bool CompilerFlags::*>, 6> kFlags{
    {{"conv_1x1_as_mm", &CompilerFlags::conv_1x1_as_mm},
     {"coordinate_descent_tuning", &CompilerFlags::coordinate_descent_tuning},
     {"coordinate_descent_check_all_directions", &CompilerFlags::coordinate_descent_check_all_directions},
     {"epilogue_fusion", &CompilerFlags::epilogue_fusion},
     {"force_fuse_int_mm_with_mul", &CompilerFlags::force_fuse_int_mm_with_mul},
     {"use_mixed_mm", &CompilerFlags::use_mixed_mm}}};
constexpr std::array<std::pair<const char*, bool>, 2> kBooleans{{{"true", true}, {"false", false}}};

// A structure's fields one after the other. Strings are quoted, so that no two lists look alike.
class FieldText {
 public:
  template <class... Fields>
  std::string operator()(const Fields&... fields) {
    (add(fields), ...);
    return std::move(text_);
  }

 private:
  template <class T>
  void add(const T& value) requires std::is_arithmetic_v<T> {
    text_ += cat(value, ' ');
  }
  template <class T>
  void add(const T& value) requires std::is_enum_v<T> {
    text_ += cat(static_cast<int64_t>(value), ' ');
  }
  void add(const std::optional<double>& value) { text_ += value ? cat(*value, ' ') : "- "; }
  void add(const SDPBackends& value) { add(sdp_backends_name(value)); }
  void add(const std::string& value) { text_ += cat(std::quoted(value), ' '); }
  template <class A, class B>
  void add(const std::pair<A, B>& pair) {
    add(pair.first), add(pair.second);
  }
  template <std::ranges::range R>
  void add(const R& range) requires(!std::is_same_v<R, std::string>) {
    text_ += "[ ";
    for (const auto& item : range) add(item);
    text_ += "] ";
  }

  std::string text_;
};

}  // namespace

CompilerFlags config;

bool ErrorBudget::empty() const {
  return each_layer == 0 && std::ranges::all_of(layers, [](const auto& layer) { return layer.second == 0; });
}

std::string options_text(const CompileOptions& options) {
  // Structured bindings must name every member: a new option does not compile until it is listed, and so tells plans apart.
  // (on_autotune only watches.)
  const auto& [mode, fullgraph, disable_passes, sdpa, error_budget, flags, quantize, dynamic, use_duck_shape, fuse_qkv, float32_matmul_precision,
               autotune_seconds, regions, on_autotune] = options;
  const auto& [conv_1x1_as_mm, descent, all_directions, epilogue_fusion, force_fuse_int_mm_with_mul, use_mixed_mm] = flags;
  return cat("options ", FieldText()(mode, fullgraph, disable_passes, sdpa, error_budget.each_layer, error_budget.layers, conv_1x1_as_mm, descent,
                                     all_directions, epilogue_fusion, force_fuse_int_mm_with_mul, use_mixed_mm, quantize, dynamic, use_duck_shape,
                                     fuse_qkv, float32_matmul_precision, autotune_seconds, regions));
}

CompileMode parse_compile_mode(const std::string& name) { return find_name(kModes, name, "compile mode"); }
Quantization parse_quantization(const std::string& name) { return find_name(kQuantizations, name, "quantization"); }

void set_compiler_flag(CompilerFlags& flags, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  const auto flag = find_name(kFlags, assignment.substr(0, equals), "compiler flag");
  if (equals == std::string::npos)
    throw UsageError(cat("compiler flag ", assignment, " has no value: expected ", assignment, "=true or ", assignment, "=false"));
  flags.*flag = find_name(kBooleans, assignment.substr(equals + 1), cat("value of compiler flag ", assignment.substr(0, equals), ":").c_str());
}

std::string compile_mode_name(CompileMode mode) { return name_of(kModes, mode); }

std::string quantization_name(Quantization kind) {
  const auto found = std::ranges::find(kQuantizations, kind, &std::pair<const char*, Quantization>::second);
  return found == kQuantizations.end() ? "none" : found->first;
}

SDPBackends::SDPBackends(std::initializer_list<SDPBackend> several) {
  for (SDPBackend backend : several) allow(backend);
}

void SDPBackends::allow(SDPBackend backend) {
  bits_ |= backend == SDPBackend::automatic ? bit(SDPBackend::flash) | bit(SDPBackend::efficient) | bit(SDPBackend::math) : bit(backend);
}

bool SDPBackends::all() const { return *this == SDPBackends(SDPBackend::automatic); }

SDPBackends parse_sdp_backends(const std::string& names) {
  SDPBackends result{std::initializer_list<SDPBackend>{}};
  std::istringstream list(names + ',');
  for (std::string name; std::getline(list, name, ',');) result.allow(find_name(kBackends, name, "attention backend"));
  return result;
}

std::string sdp_backends_name(const SDPBackends& backends) {
  if (backends.all()) return "auto";
  std::string names;
  for (const auto& [text, backend] : kBackends)
    if (backend != SDPBackend::automatic && backends.allows(backend)) names += cat(names.empty() ? "" : ",", text);
  return names;
}

sdpa_kernel::sdpa_kernel(const SDPBackends& backends) : previous_(scope()) { scope() = backends; }
sdpa_kernel::~sdpa_kernel() { scope() = previous_; }
const std::optional<SDPBackends>& sdpa_kernel::current() { return scope(); }

MatmulPrecision parse_matmul_precision(const std::string& name) { return find_name(kPrecisions, name, "float32 matmul precision"); }
std::string matmul_precision_name(MatmulPrecision precision) { return name_of(kPrecisions, precision); }
void set_float32_matmul_precision(const std::string& name) { process_precision = parse_matmul_precision(name); }
std::string get_float32_matmul_precision() { return matmul_precision_name(process_precision); }

namespace backends::cuda::matmul {
AllowTF32::operator bool() const { return process_precision != MatmulPrecision::highest; }
const AllowTF32& AllowTF32::operator=(bool allow) const {
  process_precision = allow ? MatmulPrecision::high : MatmulPrecision::highest;
  return *this;
}
}  // namespace backends::cuda::matmul

namespace backends::cudnn {
AllowTF32::operator bool() const { return convolutions_in_tf32; }
const AllowTF32& AllowTF32::operator=(bool allow) const {
  convolutions_in_tf32 = allow;
  return *this;
}
}  // namespace backends::cudnn

}  // namespace vivace
