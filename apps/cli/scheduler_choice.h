// --scheduler and --scheduler-config: what may stand in the place of a checkpoint's scheduler.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "vivace/pipeline.h"

namespace vivace::cli {

// `text` as a JSON object; without fields where it is empty. Throws UsageError for what is none.
nlohmann::json scheduler_fields(const std::string& text);

// from_config of this scheduler's class and config with these fields. Throws UsageError that names those that the class does not declare, and what it
// has, or a value that it does not take.
std::unique_ptr<Scheduler> with_fields(const Scheduler& scheduler, const nlohmann::json& fields);

// A pipeline whose scheduler is of another kind than its checkpoint's draws noise, where it draws at all. Throws UsageError that names what it takes
// where its class cannot run with it, in Diffusers as here; warns otherwise.
void check_scheduler(DiffusionPipeline& pipe);

}  // namespace vivace::cli
