// Attributes of a node: a short list of named values, kept sorted by name so that equal lists print equally.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace vivace {

using Attr = std::variant<int64_t, double, std::string, std::vector<int64_t>>;

class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<std::string, Attr>> items) {
    for (const auto& [key, value] : items) set(key, value);
  }

  void set(std::string_view key, Attr value);
  void erase(std::string_view key);
  const Attr* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // The value, or the default where the key is absent. A value of another type is an InternalError.
  int64_t integer(std::string_view key, int64_t otherwise = 0) const;
  double real(std::string_view key, double otherwise = 0) const;
  const std::string& text(std::string_view key) const;               // "" where absent
  const std::vector<int64_t>& integers(std::string_view key) const;  // empty where absent

  const std::vector<std::pair<std::string, Attr>>& items() const { return items_; }
  bool operator==(const Attrs&) const = default;

 private:
  std::vector<std::pair<std::string, Attr>> items_;
};

}  // namespace vivace
