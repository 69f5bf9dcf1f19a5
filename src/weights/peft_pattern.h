// alpha_pattern of PEFT's LoraConfig: a number for the modules that a key names, by its whole name, by the end of it behind a dot, or as a regular
// expression of either.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace vivace {

class PeftPattern {
 public:
  PeftPattern() = default;
  // Of a JSON object, whose order counts. Throws UserError that begins with `name` for a key that is no regular expression; it may be a stranger's,
  // so none that could take long is one: up to 200 characters, without {}, (?...) and \1.
  PeftPattern(const nlohmann::ordered_json& pattern, const std::string& name);

  // Of the first key that fits.
  std::optional<double> of(const std::string& module) const;

 private:
  struct Entry {
    std::function<bool(const std::string&)> is_of;
    double value;
  };
  std::vector<Entry> entries_;
};

}  // namespace vivace
