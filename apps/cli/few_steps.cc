#include "few_steps.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"

namespace vivace::cli {
namespace {

struct Kind {
  const char *word, *steps, *guidance;
  bool trailing = false;  // its timesteps begin at the noisiest
};
// What their authors advise.
constexpr Kind kKinds[] = {{"turbo", "1 to 4", "0", true}, {"lightning", "2 to 8", "0", true},
                           {"hyper", "1 to 8", "0", true}, {"lcm", "4 to 8", "1 to 2"},
                           {"tcd", "4 to 8", "0"},         {"schnell", "1 to 4", "0"}};

// "DreamShaperXL_turboDPMSDE" is dream, shaper, xl, turbo, dpmsde: whole words, so that hyperrealism is not hyper.
std::vector<std::string> words_of(const std::string& name) {
  const auto upper = [&](size_t i) { return i < name.size() && std::isupper(static_cast<unsigned char>(name[i])); };
  const auto lower = [&](size_t i) { return i < name.size() && std::islower(static_cast<unsigned char>(name[i])); };
  std::vector<std::string> words(1);
  for (size_t i = 0; i < name.size(); ++i) {
    const bool letter = upper(i) || lower(i);
    const bool begins = upper(i) && i > 0 && (!upper(i - 1) || lower(i + 1));
    if (begins || !letter) words.emplace_back();
    if (letter) words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(name[i])));
  }
  return words;
}

}  // namespace

std::vector<std::string> model_names(const std::string& model, const std::string& scheduler, const Arguments& arguments) {
  namespace fs = std::filesystem;
  std::vector<std::string> names{scheduler};
  std::error_code ignored;
  fs::path path = fs::absolute(model, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  names.push_back(path.filename().string());
  // Where Hugging Face's cache keeps it: models--owner--name/snapshots/revision.
  if (path.parent_path().filename() == "snapshots") names.push_back(path.parent_path().parent_path().filename().string());
  if (fs::is_regular_file(path / "model_index.json", ignored)) {
    const nlohmann::json index = parse_json(read_file(path / "model_index.json"), "model_index.json");
    if (const auto name = index.find("_name_or_path"); name != index.end() && name->is_string())
      names.push_back(fs::path(name->get<std::string>()).filename().string());
  }
  for (const Option* option : arguments.options())
    if (option->name() == "--lora")
      for (const std::string& file : option->values()) names.push_back(fs::path(file).filename().string());
  return names;
}

std::string few_steps_hint(std::span<const std::string> names, int steps, double guidance_scale, const std::string& scheduler_config) {
  constexpr int kMany = 12;             // above what any of the kinds is made for
  constexpr double kGuidanceOfLCM = 2;  // the most that one of them takes
  const bool many = steps > kMany && guidance_scale > kGuidanceOfLCM;
  const std::string spacing = Config::parse(scheduler_config, "the scheduler's config").get_or<std::string>("timestep_spacing", "trailing");
  for (const std::string& name : names) {
    const std::vector<std::string> words = words_of(name);
    for (const Kind& kind : kKinds) {
      if (std::ranges::find(words, kind.word) == words.end()) continue;
      std::string has, wants;
      if (many) has = cat(steps, " steps with a guidance scale of ", guidance_scale);
      if (many) wants = cat("--num-inference-steps ", kind.steps, " --guidance-scale ", kind.guidance);
      if (kind.trailing && spacing != "trailing") {
        has += cat(many ? ", and " : "", "timesteps that are spaced \"", spacing, '"');
        wants += cat(many ? " " : "", "--scheduler-config '{\"timestep_spacing\": \"trailing\"}'");
      }
      if (has.empty()) return "";
      return cat('"', name, "\" names a few-step model (", kind.word, "), and this call has ", has, ": such models are made for ", wants);
    }
  }
  return "";
}

}  // namespace vivace::cli
