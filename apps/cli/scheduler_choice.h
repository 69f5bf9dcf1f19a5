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

}  // namespace vivace::cli
