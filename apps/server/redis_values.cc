#include "redis_values.h"

#include <algorithm>
#include <initializer_list>

#include "base/json.h"
#include "fields.h"

namespace vivace::server {
namespace {

using nlohmann::json;

struct Expected {
  const char* name;
  bool (json::*is)() const noexcept;
};

json object_in(std::string_view text, std::initializer_list<Expected> fields) {
  json value = strict_json(text);
  const auto is_there = [&](const Expected& field) { return value.contains(field.name) && (value[field.name].*field.is)(); };
  return value.is_object() && std::ranges::all_of(fields, is_there) ? value : json();
}

}  // namespace

std::string packed(const Picture& picture) {
  return json_text({{"format", format_name(picture.format)}, {"height", picture.height}, {"width", picture.width}, {"seed", picture.seed}}) + '\n' +
         picture.bytes;
}

std::shared_ptr<const Picture> unpacked(std::string_view text) {
  const size_t line = text.find('\n');
  const json head = object_in(text.substr(0, line), {{"format", &json::is_string}});
  const auto format = head.is_null() ? std::nullopt : format_of(head["format"].get<std::string>());
  if (!format || line == std::string_view::npos) return nullptr;
  return std::make_shared<const Picture>(Picture{.bytes = std::string(text.substr(line + 1)), .format = *format});
}

json status_in(std::string_view text) {
  return object_in(text, {{"status", &json::is_string},
                          {"server", &json::is_string},
                          {"step", &json::is_number},
                          {"steps", &json::is_number},
                          {"progress", &json::is_number},
                          {"seconds_left", &json::is_number},
                          {"images", &json::is_array}});
}

json order_in(std::string_view text) {
  return object_in(text, {{"client", &json::is_string}, {"request", &json::is_string}, {"urgency", &json::is_number_integer}});
}

bool has_ended(const json& status) {
  const auto state = status["status"].get<std::string>();
  return state != job_state_name(JobState::queued) && state != job_state_name(JobState::running);
}

void set_failed(json& status, const Failure& failure) {
  status["status"] = job_state_name(JobState::failed);
  status["error"] = {{"status", failure.status}, {"message", failure.message}, {"param", failure.field}};
}

}  // namespace vivace::server
