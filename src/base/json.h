// JSON files, read strictly: each error is one UserError with the file, the place in it or the field, what was expected and what was found.
// The grammar is that of Python's json module, which writes checkpoints: NaN, Infinity and -Infinity are numbers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace vivace {

// Parses a file; `name` stands for it in messages. Nesting is limited to 64 levels, a file to 64 MiB.
nlohmann::json read_json(const std::filesystem::path& path);
nlohmann::json parse_json(std::string_view text, const std::string& name);

// The library's own reader and writer, which are templates and take seconds of compiling where they are called: here alone.
// By the strict grammar, as other programs read it; is_discarded() for what is no JSON.
nlohmann::json strict_json(std::string_view text);
// With fields in the order of the text.
nlohmann::ordered_json strict_ordered_json(std::string_view text);
// On one line, or with `indent` spaces a level; `ascii`: other characters as \uXXXX. Bytes that are no UTF-8 become U+FFFD.
std::string json_text(const nlohmann::json& value, int indent = -1, bool ascii = false);

// One JSON object with the name of its file: a component's config, a scheduler's, model_index.json. Copies share the value.
// T may be bool, int, int64_t, uint64_t, float, double, std::string, a std::vector of int64_t, double, bool or std::string,
// or std::vector<std::optional<std::string>>. Integers are exact: 1.0 is none; a number where T is floating may be an integer.
class Config {
 public:
  // Throws UserError when the file cannot be read, is no JSON, or its top level is no object.
  static Config read(const std::filesystem::path& path);
  static Config parse(std::string_view text, const std::string& name);

  // The file the object came from, as messages call it.
  const std::string& name() const { return name_; }
  // Sorted.
  std::vector<std::string> keys() const;
  // Every field of an object whose values are all strings (the weight_map of an index), sorted by key.
  std::vector<std::pair<std::string, std::string>> string_fields() const;
  // The field is there, be it null.
  bool has(std::string_view key) const;
  // The field is there and null. (get_or and get_optional do not tell null from missing; Diffusers sometimes does.)
  bool is_null(std::string_view key) const;
  bool is_list(std::string_view key) const;

  template <class T>
  T get(std::string_view key) const;
  // `fallback` when the field is missing or null.
  template <class T>
  T get_or(std::string_view key, T fallback) const;
  // nullopt when the field is missing or null.
  template <class T>
  std::optional<T> get_optional(std::string_view key) const;

  // A number for all `count` levels or a list with one entry a level; `fallback` (or, without one, an error) when missing or null.
  std::vector<int64_t> int_per_level(std::string_view key, size_t count, std::optional<int64_t> fallback = std::nullopt) const;
  // As int_per_level where each entry may itself be a list; a number becomes a list of one.
  std::vector<std::vector<int64_t>> ints_per_level(std::string_view key, size_t count, std::optional<int64_t> fallback = std::nullopt) const;
  // One true or false for all levels or a list.
  std::vector<bool> bool_per_level(std::string_view key, size_t count, std::optional<bool> fallback = std::nullopt) const;

  // A string out of `allowed`; `fallback` when the field is missing or null.
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> allowed, std::string_view fallback) const;
  // The same for a field that must be there.
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> allowed) const;

  // The object under `key`; its fields are named "key.field" in messages.
  Config object(std::string_view key) const;
  // The entries of a list of objects.
  std::vector<Config> objects(std::string_view key) const;

  // Throws the UserError for a value that is well formed but that Vivace does not support:
  //   unet/config.json: field "act_fn": value "tanh" is not supported: expected "silu" or "gelu"
  [[noreturn]] void unsupported(std::string_view key, std::string_view expected) const;
  // Throws it unless the field is missing, null or equal to `only`.
  template <class T>
  void require(std::string_view key, const std::type_identity_t<T>& only) const;

  // The value of a field as JSON text, shortened, for messages and listings; "missing" when it is.
  std::string text(std::string_view key) const;

 private:
  Config(std::shared_ptr<const nlohmann::json> value, std::string name, std::string prefix);
  const nlohmann::json* find(std::string_view key) const;
  const nlohmann::json& at(std::string_view key, std::string_view expected) const;
  [[noreturn]] void wrong(std::string_view key, std::string_view expected) const;

  std::shared_ptr<const nlohmann::json> value_;
  std::string name_;
  std::string prefix_;  // "text_config." for a nested object
};

}  // namespace vivace
