#include "scheduler_choice.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "schedulers/scheduler_kind.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

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
    return make_scheduler(name, scheduler.config(), json_text(fields));
  } catch (const UserError& error) {
    throw UsageError(cat(kOption, ": ", error.what()));
  }
}

}  // namespace vivace::cli
