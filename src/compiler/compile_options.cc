#include <algorithm>
#include <array>
#include <iomanip>
#include <ranges>
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
constexpr std::array<std::pair<const char*, SDPBackend>, 4> kBackends{
    {{"auto", SDPBackend::automatic}, {"flash", SDPBackend::flash}, {"efficient", SDPBackend::efficient}, {"math", SDPBackend::math}}};

constexpr std::array<std::pair<const char*, Quantization>, 3> kQuantizations{{{"int8-dynamic", Quantization::int8_dynamic},
                                                                              {"int8-weight-only", Quantization::int8_weight_only},
                                                                              {"float8-weight-only", Quantization::float8_weight_only}}};

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
  void add(const T& value) requires std::is_arithmetic_v<T> { text_ += cat(value, ' '); }
  template <class T>
  void add(const T& value) requires std::is_enum_v<T> { text_ += cat(static_cast<int64_t>(value), ' '); }
  void add(const std::string& value) { text_ += cat(std::quoted(value), ' '); }
  template <class A, class B>
  void add(const std::pair<A, B>& pair) { add(pair.first), add(pair.second); }
  template <std::ranges::range R>
  void add(const R& range) requires(!std::is_same_v<R, std::string>) {
    text_ += "[ ";
    for (const auto& item : range) add(item);
    text_ += "] ";
  }

  std::string text_;
};

}  // namespace

std::string options_text(const CompileOptions& options) {
  // Structured bindings must name every member: a new option does not compile until it is listed, and so tells plans apart.
  const auto& [mode, fullgraph, disable_passes, sdpa, exact, flags, quantize, dynamic, use_duck_shape, direct_convolutions] = options;
  const auto& [force_fuse_int_mm_with_mul, use_mixed_mm] = flags;
  return cat("options ", FieldText()(mode, fullgraph, disable_passes, sdpa, exact, force_fuse_int_mm_with_mul, use_mixed_mm, quantize, dynamic, use_duck_shape,
                                 direct_convolutions));
}

CompileMode parse_compile_mode(const std::string& name) { return find_name(kModes, name, "compile mode"); }
SDPBackend parse_sdp_backend(const std::string& name) { return find_name(kBackends, name, "attention backend"); }
Quantization parse_quantization(const std::string& name) { return find_name(kQuantizations, name, "quantization"); }

std::string sdp_backend_name(SDPBackend backend) { return std::ranges::find(kBackends, backend, &std::pair<const char*, SDPBackend>::second)->first; }

std::string compile_mode_name(CompileMode mode) {
  return std::ranges::find(kModes, mode, &std::pair<const char*, CompileMode>::second)->first;
}

std::string quantization_name(Quantization kind) {
  const auto found = std::ranges::find(kQuantizations, kind, &std::pair<const char*, Quantization>::second);
  return found == kQuantizations.end() ? "none" : found->first;
}

}  // namespace vivace
