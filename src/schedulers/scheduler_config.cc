#include "schedulers/scheduler_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

Json object(const std::string& text, const std::string& name) {
  Json value = parse_json(text, name);
  if (!value.is_object()) throw UserError(cat(name, ": expected a JSON object at the top, got ", value.type_name()));
  return value;
}

// Without what "_use_default_values" lists.
Json given_values(const std::string& name, const std::string& config) {
  Json values = object(config, name);
  if (const auto unused = values.find("_use_default_values"); unused != values.end()) {
    if (!unused->is_array()) throw UserError(cat(name, ": field \"_use_default_values\": expected a list of strings, got ", unused->type_name()));
    const Json names = *unused;
    values.erase("_use_default_values");
    for (const Json& key : names) {
      if (!key.is_string())
        throw UserError(cat(name, ": field \"_use_default_values\": expected a list of strings, got a ", key.type_name(), " in it"));
      values.erase(key.get_ref<const std::string&>());
    }
  }
  return values;
}

void check_finite(const Json& values, const std::string& name) {
  for (const auto& [key, value] : values.items()) {
    // Written as null, which reads as the default: right for the one field that may be -infinity, whose default it is, and for no other.
    if (value.is_number_float() && !std::isfinite(value.get<double>()) && !(key == "lambda_min_clipped" && value.get<double>() < 0))
      throw UserError(cat(name, ": field \"", key, "\": expected a finite number"));
  }
}

}  // namespace

struct SchedulerConfig::Values {
  explicit Values(Json config) : written(std::move(config)), merged(written) {}

  Json written;  // by json(): the config's fields, and of those that the class declares what they came to be
  Json merged;   // the config's fields, overridden and forced
};

SchedulerConfig::SchedulerConfig(std::string class_name, const std::string& config, const std::string& overrides, const std::string& forced)
    : class_name_(std::move(class_name)),
      values_(std::make_unique<Values>(given_values(class_name_ + " config", config))),
      hidden_(Config::parse(json_text(values_->written), class_name_ + " config")),
      fields_(hidden_) {
  const std::string name = class_name_ + " config";
  const Json must = object(forced, name);
  const Json over = object(overrides, name + " overrides");
  for (const auto& [key, value] : over.items())
    if (!key.starts_with('_')) unread_.push_back(key);
  values_->merged.update(over);
  for (const auto& [key, value] : must.items()) {
    if (!values_->merged.contains(key)) forced_.push_back(key);
    if (values_->written.contains(key)) values_->written[key] = value;
    values_->merged[key] = value;
  }
  check_finite(values_->merged, name);
  fields_ = Config::parse(json_text(values_->merged), name);
  values_->written["_class_name"] = class_name_;
}

SchedulerConfig::SchedulerConfig(SchedulerConfig&&) noexcept = default;
SchedulerConfig::~SchedulerConfig() = default;

template <class T>
void SchedulerConfig::record(std::string_view key, const T& value) {
  const std::string name(key);
  std::erase(unread_, name);
  const auto found = values_->merged.find(name);
  values_->written[name] = found == values_->merged.end() ? Json(value) : *found;
  if (found == values_->merged.end() || std::ranges::find(forced_, name) != forced_.end()) defaults_.push_back(name);
}

bool SchedulerConfig::flag(std::string_view key, bool fallback) {
  record(key, fallback);
  if (fields_.has(key) && fields_.is_null(key)) return false;  // Python's None
  return fields_.get_or<bool>(key, fallback);
}

std::optional<std::string> SchedulerConfig::optional_text(std::string_view key) {
  record(key, Json());
  return fields_.get_optional<std::string>(key);
}

int SchedulerConfig::integer(std::string_view key, int fallback, int least, int most) {
  record(key, fallback);
  const int value = fields_.get_or<int>(key, fallback);
  if (value < least || value > most) unsupported(key, cat("an integer from ", least, " to ", most));
  return value;
}

double SchedulerConfig::number(std::string_view key, double fallback) {
  record(key, fallback);
  return fields_.get_or<double>(key, fallback);
}

std::optional<double> SchedulerConfig::optional_number(std::string_view key, std::optional<double> fallback) {
  record(key, fallback ? Json(*fallback) : Json());
  const std::optional<double> value = fields_.get_optional<double>(key);
  return value || fields_.has(key) ? value : fallback;
}

std::optional<uint64_t> SchedulerConfig::optional_seed(std::string_view key) {
  record(key, Json());
  const std::optional<int64_t> value = fields_.get_optional<int64_t>(key);
  if (value && *value < 0) unsupported(key, "an integer that is not negative, or null");
  return value;
}

std::string SchedulerConfig::choice(std::string_view key, std::initializer_list<std::string_view> allowed, std::string_view fallback) {
  record(key, std::string(fallback));
  return fields_.one_of(key, allowed, fallback);
}

std::vector<double> SchedulerConfig::numbers(std::string_view key) {
  record(key, Json());
  return fields_.get_or<std::vector<double>>(key, {});
}

std::vector<int64_t> SchedulerConfig::integers(std::string_view key) {
  record(key, Json::array());
  return fields_.get_or<std::vector<int64_t>>(key, {});
}

void SchedulerConfig::only_null(std::string_view key) {
  record(key, Json());
  if (fields_.has(key) && !fields_.is_null(key)) unsupported(key, "null");
}

void SchedulerConfig::replace(std::string_view key, std::string_view value) { values_->written[std::string(key)] = std::string(value); }

void SchedulerConfig::warn_of_ignored() const {
  if (!unread_.empty()) warn(class_name_, " has no ", joined(unread_, " and no "), ": what was given for it is ignored");
}

std::string SchedulerConfig::json() const {
  Json out = values_->written;
  if (!defaults_.empty()) out["_use_default_values"] = defaults_;
  return json_text(out, 2);
}

}  // namespace vivace
