#include "scheduler_choice.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "pipelines/loaded.h"
#include "schedulers/scheduler_kind.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// "use_flow_sigmas" makes a flow of any class that has it.
SchedulerKind kind_of(const std::string& class_name, const Config& config) {
  const bool flows = std::ranges::count(list_schedulers(), class_name) > 0 && config.get_or<bool>("use_flow_sigmas", false) &&
                     std::ranges::count(scheduler_config_fields(class_name), "use_flow_sigmas") > 0;
  return flows ? SchedulerKind::flow_match : scheduler_kind(class_name);
}

// Whether a call of the pipeline's defaults may have its timesteps from a scheduler of that class.
bool serves(DiffusionPipeline& pipe, const std::string& class_name) {
  const Recipe& recipe = *pipe.loaded().recipe;
  try {
    make_scheduler(class_name, pipe.scheduler().config())->set_timesteps(recipe.timesteps(recipe.resolve("", recipe.blank_call({}))));
    return true;
  } catch (const UserError&) {
    return false;
  }
}

constexpr const char* kOption = "--scheduler-config";

}  // namespace

nlohmann::json scheduler_fields(const std::string& text) {
  if (text.empty()) return nlohmann::json::object();
  try {
    nlohmann::json fields = parse_json(text, kOption);
    if (fields.is_object()) return fields;
  } catch (const UserError& error) {
    throw UsageError(error.what());
  }
  throw UsageError(cat(kOption, " is ", text, ": expected a JSON object, such as '{\"use_karras_sigmas\": true}'"));
}

std::unique_ptr<Scheduler> with_fields(const Scheduler& scheduler, const nlohmann::json& fields) {
  const std::string& name = scheduler.class_name();
  const std::vector<std::string> known = scheduler_config_fields(name);
  std::vector<std::string> unknown;
  for (const auto& field : fields.items())
    if (std::ranges::count(known, field.key()) == 0) unknown.push_back(field.key());
  if (!unknown.empty()) throw UsageError(cat(kOption, ": a ", name, " has no ", joined(unknown, ", no "), ": it has ", joined(known)));
  try {
    return make_scheduler(name, scheduler.config(), fields.dump());
  } catch (const UserError& error) {
    throw UsageError(cat(kOption, ": ", error.what()));
  }
}

void check_scheduler(DiffusionPipeline& pipe) {
  const std::filesystem::path folder = pipe.loaded().parts.path;
  const auto entry = Config::read(folder / "model_index.json").get<std::vector<std::optional<std::string>>>("scheduler");
  const SchedulerKind own = kind_of(entry.back().value_or(""), Config::read(folder / "scheduler" / "scheduler_config.json"));
  const Scheduler& now = pipe.scheduler();
  if (kind_of(now.class_name(), Config::parse(now.config(), now.class_name())) == own) return;
  std::vector<std::string> others = schedulers_of(own);
  std::erase_if(others, [&](const std::string& name) { return !serves(pipe, name); });
  const std::string what = cat("a ", now.class_name(), " is not for the models of a ", pipe.class_name(), ", which take ", joined(others));
  // Diffusers' pipelines for other models ask a scheduler for scale_model_input, which those of flows do not have.
  if (scheduler_kind(now.class_name()) == SchedulerKind::flow_match || !serves(pipe, now.class_name())) throw UsageError(cat("--scheduler: ", what));
  warn(what);
}

}  // namespace vivace::cli
