#include "fields.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "base/joined.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"

namespace vivace::server {
namespace {

// A value for a message, shortened.
std::string shown(const nlohmann::json& value) {
  std::string text = json_text(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

[[noreturn]] void wrong(std::string_view name, const nlohmann::json& value, const std::string& expected) {
  throw FieldError(std::string(name), cat(name, " is ", shown(value), ": expected ", expected));
}

// The argument that a message is about: "height is 7: ...", "a FluxPipeline does not take clip_skip".
std::string field_of(const std::string& message) {
  static constexpr const char *kName = "abcdefghijklmnopqrstuvwxyz0123456789_", kRefusal[] = " does not take ";
  const size_t refused = message.find(kRefusal);
  const std::string text = refused == std::string::npos ? message : message.substr(refused + sizeof kRefusal - 1);
  const size_t end = std::min(text.find_first_not_of(kName), text.size());
  return refused != std::string::npos || text.compare(end, 4, " is ") == 0 ? text.substr(0, end) : "";
}

}  // namespace

Failure failure_of_exception() {
  try {
    throw;
  } catch (const FieldError& error) {
    return {error.status, error.what(), error.field};
  } catch (const UsageError& error) {
    return {400, error.what(), field_of(error.what())};
  } catch (const InternalError& error) {
    return {500, cat("internal error: ", error.what(), " (this is a bug in Vivace)"), ""};
  } catch (const std::bad_alloc&) {
    return {500, "out of memory: use a smaller size", ""};
  } catch (const std::exception& error) {
    return {500, error.what(), ""};
  }
}

Fields::Fields(const std::string& body) {
  try {
    object_ = parse_json(body.empty() ? "{}" : body, "the request's body");
  } catch (const UserError& error) {
    throw UsageError(error.what());
  }
  if (!object_.is_object()) throw UsageError("the request's body is no JSON object: expected {\"prompt\": \"...\"}");
}

Fields Fields::of_form(const std::vector<FormPart>& parts) {
  Fields fields;
  fields.form_ = true;
  for (const FormPart& part : parts) {
    if (!part.filename.empty()) continue;
    const std::string name = form_name(part);
    if (fields.object_.contains(name)) throw FieldError(name, cat(name, " is given twice"));
    fields.object_[name] = to_valid_utf8(part.data);
  }
  return fields;
}

nlohmann::json* Fields::found(std::string_view name) {
  asked_.emplace(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const nlohmann::json* Fields::value(std::string_view name) {
  nlohmann::json* v = found(name);
  if (!v || !form_ || !v->is_string()) return v;
  try {
    *v = parse_json(v->get<std::string>(), std::string(name));
  } catch (const UserError&) {  // it stays a text, which is refused where it is none
  }
  return found(name);
}

bool Fields::has(std::string_view name) { return found(name) != nullptr; }

std::optional<std::string> Fields::text(std::string_view name, size_t most_bytes) {
  const nlohmann::json* v = found(name);
  if (!v) return std::nullopt;
  if (!v->is_string()) wrong(name, *v, "a text");
  auto result = v->get<std::string>();
  if (result.size() > most_bytes) throw FieldError(std::string(name), cat(name, " has ", result.size(), " bytes: expected at most ", most_bytes));
  return result;
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t least, int64_t most) {
  const nlohmann::json* v = value(name);
  if (!v) return std::nullopt;
  const std::string expected = cat("a whole number from ", least, " to ", most);
  // Some clients write 20.0.
  if (v->is_number_float() && std::nearbyint(v->get<double>()) == v->get<double>() && std::abs(v->get<double>()) < 9e15) {
    const auto whole = static_cast<int64_t>(v->get<double>());
    if (whole < least || whole > most) wrong(name, *v, expected);
    return whole;
  }
  if (!v->is_number_integer()) wrong(name, *v, expected);
  if (v->is_number_unsigned() && v->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) wrong(name, *v, expected);
  const auto whole = v->get<int64_t>();
  if (whole < least || whole > most) wrong(name, *v, expected);
  return whole;
}

std::optional<double> Fields::number(std::string_view name, double least, double most) {
  const nlohmann::json* v = value(name);
  if (!v) return std::nullopt;
  const std::string expected = cat("a number from ", least, " to ", most);
  if (!v->is_number()) wrong(name, *v, expected);
  const auto x = v->get<double>();
  if (!(x >= least && x <= most)) wrong(name, *v, expected);
  return x;
}

std::optional<bool> Fields::flag(std::string_view name) {
  const nlohmann::json* v = value(name);
  if (!v) return std::nullopt;
  if (!v->is_boolean()) wrong(name, *v, "true or false");
  return v->get<bool>();
}

std::optional<std::string> Fields::choice(std::string_view name, std::initializer_list<std::string_view> names) {
  const nlohmann::json* v = found(name);
  if (!v) return std::nullopt;
  if (!v->is_string() || std::ranges::count(names, v->get<std::string>()) == 0) wrong(name, *v, cat("one of ", joined(names)));
  return v->get<std::string>();
}

void Fields::refuse(std::string_view name, const std::string& why) {
  const nlohmann::json* v = value(name);
  if (!v || v->empty() || *v == nlohmann::json(false) || *v == nlohmann::json(0) || *v == nlohmann::json("")) return;
  throw FieldError(std::string(name), cat(name, " is ", shown(*v), ": ", why));
}

nlohmann::json Fields::known() const {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [name, value] : object_.items())
    if (asked_.contains(name)) result[name] = value;
  return result;
}

void Fields::replace(std::string_view name, nlohmann::json value) {
  if (nlohmann::json* there = found(name)) *there = std::move(value);
}

void Fields::finish() const {
  for (const auto& [name, value] : object_.items())
    if (!asked_.contains(name)) throw FieldError(name, cat("unknown field ", shown(name), ": expected one of ", joined(asked_)));
}

}  // namespace vivace::server
