#include "weights/peft_pattern.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <string_view>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// In time that grows with the lengths alone, whatever the expression: libstdc++'s own flag.
constexpr auto kSyntax = std::regex_constants::ECMAScript | std::regex_constants::__polynomial;
constexpr size_t kMostCharacters = 200;

bool is_name(std::string_view key) { return key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == key.npos; }

// A dot stands for any character, as in the expression that the name is.
bool ends_with(std::string_view module, std::string_view name) {
  if (module.size() < name.size() || (module.size() > name.size() && module[module.size() - name.size() - 1] != '.')) return false;
  return std::ranges::equal(module.substr(module.size() - name.size()), name, [](char a, char b) { return b == '.' || a == b; });
}

std::regex expression_of(const std::string& key, const std::string& name) {
  const auto refuse = [&](const std::string& why) {
    throw UserError(cat(name, ": \"", key, "\" is no regular expression that is read here: ", why));
  };
  if (key.size() > kMostCharacters) refuse(cat("expected up to ", kMostCharacters, " characters"));
  if (key.find('{') != key.npos || key.find("(?") != key.npos) refuse("expected one without {} and (?...)");
  try {
    return std::regex(cat("(.*\\.)?(", key, ')'), kSyntax);
  } catch (const std::regex_error& error) {
    refuse(error.what());
    throw;
  }
}

}  // namespace

PeftPattern::PeftPattern(const nlohmann::ordered_json& pattern, const std::string& name) {
  if (!pattern.is_object()) return;
  for (const auto& [key, value] : pattern.items()) {
    if (!value.is_number()) continue;
    if (is_name(key))
      entries_.push_back({[key = key](const std::string& module) { return ends_with(module, key); }, value.get<double>()});
    else
      entries_.push_back({[e = expression_of(key, name)](const std::string& module) { return std::regex_match(module, e); }, value.get<double>()});
  }
}

std::optional<double> PeftPattern::of(const std::string& module) const {
  for (const Entry& entry : entries_)
    if (entry.is_of(module)) return entry.value;
  return std::nullopt;
}

}  // namespace vivace
