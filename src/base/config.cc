// Config: typed access to the fields of one JSON object.
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using nlohmann::json;

// What a value of type T is called in "expected ...", and how it is read; read() returns false for any other value.
template <class T>
struct Field;

template <>
struct Field<bool> {
  static constexpr const char* kOne = "true or false";
  static constexpr const char* kList = "a list of true and false";
  static bool read(const json& from, bool& to) {
    if (!from.is_boolean()) return false;
    to = from.get<bool>();
    return true;
  }
};

template <class T>
requires(std::is_integral_v<T>) struct Field<T> {
  static constexpr const char* kOne = sizeof(T) < 8 ? "an integer of 32 bits" : std::is_signed_v<T> ? "an integer" : "an integer of 0 or more";
  static constexpr const char* kList = "a list of integers";
  static bool read(const json& from, T& to) {
    if (!from.is_number_integer()) return false;
    const bool fits = from.is_number_unsigned() ? std::in_range<T>(from.get<uint64_t>()) : std::in_range<T>(from.get<int64_t>());
    if (fits) to = from.get<T>();
    return fits;
  }
};

template <class T>
requires(std::is_floating_point_v<T>) struct Field<T> {
  static constexpr const char* kOne = "a number";
  static constexpr const char* kList = "a list of numbers";
  static bool read(const json& from, T& to) {
    if (!from.is_number()) return false;
    to = static_cast<T>(from.get<double>());
    return true;
  }
};

template <>
struct Field<std::string> {
  static constexpr const char* kOne = "a string";
  static constexpr const char* kList = "a list of strings";
  static bool read(const json& from, std::string& to) {
    if (!from.is_string()) return false;
    to = from.get_ref<const std::string&>();
    return true;
  }
};

template <>
struct Field<std::optional<std::string>> {
  static constexpr const char* kList = "a list of strings and nulls";
  static bool read(const json& from, std::optional<std::string>& to) {
    if (from.is_null()) return true;
    return Field<std::string>::read(from, to.emplace());
  }
};

template <class T>
struct Field<std::vector<T>> {
  static constexpr const char* kOne = Field<T>::kList;
  static bool read(const json& from, std::vector<T>& to) {
    if (!from.is_array()) return false;
    to.clear();
    for (const json& entry : from) {
      T value{};
      if (!Field<T>::read(entry, value)) return false;
      to.push_back(std::move(value));
    }
    return true;
  }
};

std::string shortened(const json& value) {
  constexpr size_t kLongest = 60;
  // A long list or object is not dumped whole, lest a hostile file make a hostile message.
  if (value.is_structured() && value.size() > kLongest) return cat(value.is_array() ? "a list" : "an object", " of ", value.size(), " entries");
  std::string text = json_text(value, -1, true);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

std::string quoted_list(std::initializer_list<std::string_view> values) {
  std::string text;
  size_t i = 0;
  for (std::string_view v : values) {
    if (i > 0) text += i + 1 == values.size() ? " or " : ", ";
    text += cat('"', v, '"');
    ++i;
  }
  return text;
}

// One value for all `count` levels or a list of `count`; false when the value is neither.
template <class T, class Read>
bool read_levels(const json& from, size_t count, std::vector<T>& to, const Read& read_one) {
  T value{};
  if (read_one(from, value)) {
    to.assign(count, value);
    return true;
  }
  if (!from.is_array() || from.size() != count) return false;
  for (const json& entry : from) {
    if (!read_one(entry, value)) return false;
    to.push_back(value);
  }
  return true;
}

}  // namespace

Config::Config(std::shared_ptr<const json> value, std::string name, std::string prefix)
    : value_(std::move(value)), name_(std::move(name)), prefix_(std::move(prefix)) {}

Config Config::read(const std::filesystem::path& path) {
  auto value = std::make_shared<const json>(read_json(path));
  if (!value->is_object()) throw UserError(cat(path.string(), ": expected a JSON object at the top, got ", shortened(*value)));
  return Config(std::move(value), path.string(), "");
}

Config Config::parse(std::string_view text, const std::string& name) {
  auto value = std::make_shared<const json>(parse_json(text, name));
  if (!value->is_object()) throw UserError(cat(name, ": expected a JSON object at the top, got ", shortened(*value)));
  return Config(std::move(value), name, "");
}

const json* Config::find(std::string_view key) const {
  const auto it = value_->find(key);
  return it == value_->end() ? nullptr : &*it;
}

const json& Config::at(std::string_view key, std::string_view expected) const {
  const json* value = find(key);
  if (!value) throw UserError(cat(name_, ": field \"", prefix_, key, "\" is missing: expected ", expected));
  return *value;
}

void Config::wrong(std::string_view key, std::string_view expected) const {
  throw UserError(cat(name_, ": field \"", prefix_, key, "\": expected ", expected, ", got ", text(key)));
}

void Config::unsupported(std::string_view key, std::string_view expected) const {
  throw UserError(cat(name_, ": field \"", prefix_, key, "\": value ", text(key), " is not supported: expected ", expected));
}

std::string Config::text(std::string_view key) const {
  const json* value = find(key);
  return value ? shortened(*value) : "missing";
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : value_->items()) keys.push_back(key);
  return keys;
}

std::vector<std::pair<std::string, std::string>> Config::string_fields() const {
  std::vector<std::pair<std::string, std::string>> fields;
  fields.reserve(value_->size());
  for (const auto& [key, value] : value_->items()) {
    if (!value.is_string()) wrong(key, Field<std::string>::kOne);
    fields.emplace_back(key, value.get_ref<const std::string&>());
  }
  return fields;
}

bool Config::has(std::string_view key) const { return find(key) != nullptr; }

bool Config::is_null(std::string_view key) const {
  const json* value = find(key);
  return value && value->is_null();
}

bool Config::is_list(std::string_view key) const {
  const json* value = find(key);
  return value && value->is_array();
}

template <class T>
T Config::get(std::string_view key) const {
  T value{};
  if (!Field<T>::read(at(key, Field<T>::kOne), value)) wrong(key, Field<T>::kOne);
  return value;
}

template <class T>
std::optional<T> Config::get_optional(std::string_view key) const {
  const json* value = find(key);
  if (!value || value->is_null()) return std::nullopt;
  return get<T>(key);
}

template <class T>
T Config::get_or(std::string_view key, T fallback) const {
  std::optional<T> value = get_optional<T>(key);
  return value ? std::move(*value) : std::move(fallback);
}

template <class T>
void Config::require(std::string_view key, const std::type_identity_t<T>& only) const {
  const std::optional<T> value = get_optional<T>(key);
  if (value && *value != only) unsupported(key, json_text(only));
}

std::vector<int64_t> Config::int_per_level(std::string_view key, size_t count, std::optional<int64_t> fallback) const {
  const std::string expected = cat("an integer or a list of ", count, " integers");
  if (fallback && (!has(key) || is_null(key))) return std::vector<int64_t>(count, *fallback);
  std::vector<int64_t> levels;
  if (!read_levels(at(key, expected), count, levels, Field<int64_t>::read)) wrong(key, expected);
  return levels;
}

std::vector<std::vector<int64_t>> Config::ints_per_level(std::string_view key, size_t count, std::optional<int64_t> fallback) const {
  const std::string expected = cat("an integer or a list of ", count, " integers or lists of integers");
  if (fallback && (!has(key) || is_null(key))) return std::vector<std::vector<int64_t>>(count, {*fallback});
  const json& value = at(key, expected);
  const auto read_one = [&](const json& from, std::vector<int64_t>& to) {
    int64_t number = 0;
    if (!Field<int64_t>::read(from, number)) return &from != &value && Field<std::vector<int64_t>>::read(from, to);
    to = {number};
    return true;
  };
  std::vector<std::vector<int64_t>> levels;
  if (!read_levels(value, count, levels, read_one)) wrong(key, expected);
  return levels;
}

std::vector<bool> Config::bool_per_level(std::string_view key, size_t count, std::optional<bool> fallback) const {
  const std::string expected = cat("true, false or a list of ", count, " of them");
  if (fallback && (!has(key) || is_null(key))) return std::vector<bool>(count, *fallback);
  std::vector<bool> levels;
  if (!read_levels(at(key, expected), count, levels, Field<bool>::read)) wrong(key, expected);
  return levels;
}

std::string Config::one_of(std::string_view key, std::initializer_list<std::string_view> allowed, std::string_view fallback) const {
  return has(key) && !is_null(key) ? one_of(key, allowed) : std::string(fallback);
}

std::string Config::one_of(std::string_view key, std::initializer_list<std::string_view> allowed) const {
  std::string value;
  if (!Field<std::string>::read(at(key, quoted_list(allowed)), value)) wrong(key, quoted_list(allowed));
  for (std::string_view name : allowed)
    if (value == name) return value;
  unsupported(key, quoted_list(allowed));
}

Config Config::object(std::string_view key) const {
  const json& value = at(key, "an object");
  if (!value.is_object()) wrong(key, "an object");
  return Config(std::shared_ptr<const json>(value_, &value), name_, cat(prefix_, key, "."));
}

std::vector<Config> Config::objects(std::string_view key) const {
  const json& list = at(key, "a list of objects");
  std::vector<Config> objects;
  if (!list.is_array()) wrong(key, "a list of objects");
  for (const json& value : list) {
    if (!value.is_object()) wrong(key, "a list of objects");
    objects.push_back(Config(std::shared_ptr<const json>(value_, &value), name_, cat(prefix_, key, "[", objects.size(), "].")));
  }
  return objects;
}

#define VIVACE_CONFIG_FIELD(...)                                                         \
  template __VA_ARGS__ Config::get<__VA_ARGS__>(std::string_view) const;                 \
  template __VA_ARGS__ Config::get_or<__VA_ARGS__>(std::string_view, __VA_ARGS__) const; \
  template std::optional<__VA_ARGS__> Config::get_optional<__VA_ARGS__>(std::string_view) const;
VIVACE_CONFIG_FIELD(bool)
VIVACE_CONFIG_FIELD(int)
VIVACE_CONFIG_FIELD(int64_t)
VIVACE_CONFIG_FIELD(uint64_t)
VIVACE_CONFIG_FIELD(float)
VIVACE_CONFIG_FIELD(double)
VIVACE_CONFIG_FIELD(std::string)
VIVACE_CONFIG_FIELD(std::vector<bool>)
VIVACE_CONFIG_FIELD(std::vector<int64_t>)
VIVACE_CONFIG_FIELD(std::vector<double>)
VIVACE_CONFIG_FIELD(std::vector<std::string>)
VIVACE_CONFIG_FIELD(std::vector<std::optional<std::string>>)
#undef VIVACE_CONFIG_FIELD

template void Config::require<bool>(std::string_view, const bool&) const;
template void Config::require<int64_t>(std::string_view, const int64_t&) const;
template void Config::require<double>(std::string_view, const double&) const;
template void Config::require<std::string>(std::string_view, const std::string&) const;

}  // namespace vivace
