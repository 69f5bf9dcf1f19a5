// A scheduler's config while it is being read: each read names the field, its default and what it may be, and is recorded for config_json.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace vivace {

class SchedulerConfig {
 public:
  // Fields that `config` lists in "_use_default_values" are dropped, then `overrides` are laid over it (Diffusers' from_config).
  // `forced` replaces values without making them given: what the config did not say is still a default to a later from_config.
  // Throws UserError when one of them is no JSON object.
  SchedulerConfig(std::string class_name, const std::string& config, const std::string& overrides, const std::string& forced = "{}");
  SchedulerConfig(SchedulerConfig&&) noexcept;
  ~SchedulerConfig();

  // All throw UserError for a value of the wrong type or out of range. A null counts as missing, except where it is Python's other false.
  bool flag(std::string_view key, bool fallback);  // null: false
  int integer(std::string_view key, int fallback, int least, int most);
  double number(std::string_view key, double fallback);  // NaN and +infinity are refused
  std::optional<std::string> optional_text(std::string_view key);
  std::optional<double> optional_number(std::string_view key, std::optional<double> fallback = std::nullopt);
  std::optional<uint64_t> optional_seed(std::string_view key);  // not negative
  std::string choice(std::string_view key, std::initializer_list<std::string_view> allowed, std::string_view fallback);
  std::vector<double> numbers(std::string_view key);    // empty when missing
  std::vector<int64_t> integers(std::string_view key);  // empty when missing
  // A field that only another class declares, which Diffusers nevertheless looks at when the config carries it.
  std::optional<double> hidden_number(std::string_view key) const { return hidden_.get_optional<double>(key); }
  // A field of which only null is supported.
  void only_null(std::string_view key);
  // Diffusers replaces some values by ones it can handle.
  void replace(std::string_view key, std::string_view value);

  // field "...": value ... is not supported: expected ...
  [[noreturn]] void unsupported(std::string_view key, std::string_view expected) const { fields_.unsupported(key, expected); }
  const std::string& class_name() const { return class_name_; }
  std::string json() const;
  // Says which overrides nobody read, when all fields have been: the class does not declare them.
  void warn_of_ignored() const;

 private:
  struct Values;  // JSON, whose header is large
  template <class T>
  void record(std::string_view key, const T& value);

  std::string class_name_;
  std::unique_ptr<Values> values_;
  Config hidden_, fields_;  // the config's, and what it came to be, to be read
  // Names: forced without being given; those with the class's default; overrides that nobody has read yet.
  std::vector<std::string> forced_, defaults_, unread_;
};

}  // namespace vivace
