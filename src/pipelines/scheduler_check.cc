#include "pipelines/scheduler_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Whether a call of the pipeline's defaults may have its timesteps from a scheduler of that class.
bool serves(const DiffusionPipeline::Loaded& loaded, const std::string& class_name, const std::string& config) {
  const Recipe& recipe = *loaded.recipe;
  try {
    make_scheduler(class_name, config)->set_timesteps(recipe.timesteps(recipe.resolve("", recipe.blank_call({}))));
    return true;
  } catch (const UserError&) {
    return false;
  }
}

}  // namespace

SchedulerKind kind_of_scheduler(const std::string& class_name, const std::string& config) {
  const bool flows = std::ranges::count(list_schedulers(), class_name) > 0 &&
                     Config::parse(config, class_name).get_or<bool>("use_flow_sigmas", false) &&
                     std::ranges::count(scheduler_config_fields(class_name), "use_flow_sigmas") > 0;
  return flows ? SchedulerKind::flow_match : scheduler_kind(class_name);
}

void check_scheduler(const DiffusionPipeline::Loaded& loaded, const Scheduler& scheduler) {
  const std::string &name = scheduler.class_name(), config = scheduler.config();
  if (std::ranges::count(list_schedulers(), name) == 0 || kind_of_scheduler(name, config) == loaded.scheduler_kind) return;
  std::vector<std::string> others = schedulers_of(loaded.scheduler_kind);
  std::erase_if(others, [&](const std::string& other) { return !serves(loaded, other, config); });
  const std::string what = cat("a ", name, " is not for the models of a ", loaded.parts.class_name, ", which take ", joined(others));
  // Diffusers' pipelines for other models ask a scheduler for scale_model_input, which those of flows do not have.
  if (scheduler_kind(name) == SchedulerKind::flow_match || !serves(loaded, name, config)) throw UsageError(what);
  warn(what);
}

}  // namespace vivace
