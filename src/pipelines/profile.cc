#include "pipelines/profile.h"

#include "base/log.h"
#include "vivace/error.h"
#include "vivace/profile.h"

namespace vivace {
namespace {

// A name that another table knows: its UsageError becomes a UserError of the file's.
template <class Parse>
auto named(const Config& config, const std::string& key, const std::string& name, const Parse& parse) {
  try {
    return parse(name);
  } catch (const UsageError& error) {
    throw UserError(cat(config.name(), ": field \"", key, "\": ", error.what()));
  }
}

std::string text(const Config& config, const char* key, const char* fallback) { return config.get_or<std::string>(key, fallback); }

}  // namespace

PretrainedOptions load_profile(const std::filesystem::path& path) { return profile_in(Config::read(path)); }

PretrainedOptions profile_in(const Config& profile) {
  if (profile.get_or<std::string>("format", "") != kProfileFormat)
    throw UserError(cat(profile.name(), " is no profile of vivace tune: expected \"format\": \"", kProfileFormat, "\""));
  const Config compile = profile.object("compile");
  PretrainedOptions options;
  options.dtype = named(profile, "dtype", text(profile, "dtype", "float32"), parse_dtype);
  options.compile.mode = named(compile, "mode", text(compile, "mode", "off"), parse_compile_mode);
  options.compile.sdpa = named(compile, "sdpa", text(compile, "sdpa", "auto"), parse_sdp_backends);
  if (compile.has("quantize"))
    for (const std::string& kind : compile.object("quantize").keys())
      for (const std::string& layer : compile.object("quantize").get<std::vector<std::string>>(kind))
        options.compile.quantize[layer] = named(compile, "quantize", kind, parse_quantization);
  options.compile.error_budget.each_layer = compile.get_optional<double>("error_budget");
  if (compile.has("layer_error_budgets"))
    for (const std::string& layer : compile.object("layer_error_budgets").keys())
      options.compile.error_budget.layers[layer] = compile.object("layer_error_budgets").get<double>(layer);
  return options;
}

}  // namespace vivace
