#include "weights/name_rules.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Match {
  RuleNumbers numbers;
  std::string_view rest;
};

std::optional<Match> match(std::string_view pattern, std::string_view name) {
  Match found;
  while (!pattern.empty()) {
    if (pattern[0] == '*') {
      found.rest = name;
      return found;
    }
    if (pattern[0] == '{') {
      int64_t number = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
      // "01" is no number of a layer, nor is "-1".
      if (error != std::errc() || name[0] == '-' || (name[0] == '0' && end != name.data() + 1)) return std::nullopt;
      found.numbers[pattern[1]] = number;
      name.remove_prefix(static_cast<size_t>(end - name.data()));
      pattern.remove_prefix(pattern.find('}') + 1);
      continue;
    }
    if (name.empty() || name[0] != pattern[0]) return std::nullopt;
    name.remove_prefix(1);
    pattern.remove_prefix(1);
  }
  return name.empty() ? std::optional(std::move(found)) : std::nullopt;
}

int64_t number_of(std::string_view factor, const RuleNumbers& numbers) {
  int64_t value = 0;
  if (std::from_chars(factor.data(), factor.data() + factor.size(), value).ec == std::errc()) return value;
  const auto found = factor.size() == 1 ? numbers.find(factor[0]) : numbers.end();
  if (found == numbers.end()) throw InternalError(cat("a rule of names has no number ", factor));
  return found->second;
}

// "L*b+l-1": sums and differences of products.
int64_t evaluate(std::string_view text, const RuleNumbers& numbers) {
  int64_t sum = 0, sign = 1;
  while (true) {
    const size_t end = std::min(text.find_first_of("+-"), text.size());
    int64_t product = sign;
    for (std::string_view term = text.substr(0, end); !term.empty();) {
      const size_t star = std::min(term.find('*'), term.size());
      product *= number_of(term.substr(0, star), numbers);
      term.remove_prefix(std::min(star + 1, term.size()));
    }
    sum += product;
    if (end == text.size()) return sum;
    sign = text[end] == '-' ? -1 : 1;
    text.remove_prefix(end + 1);
  }
}

// `rest` as the rules below `*` spell it; nullopt where there are such and none fits.
std::optional<std::string> spelled(std::span<const RestRule> rules, std::string_view rest) {
  if (rules.empty()) return std::string(rest);
  for (const auto& [model, file] : rules)
    if (rest.starts_with(model) && (rest.size() == model.size() || rest[model.size()] == '.')) return cat(file, rest.substr(model.size()));
  return std::nullopt;
}

std::string expand(std::string_view pattern, const RuleNumbers& numbers, std::string_view rest) {
  std::string name;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '{') {
      const size_t end = pattern.find('}', i);
      name += std::to_string(evaluate(pattern.substr(i + 1, end - i - 1), numbers));
      i = end;
    } else if (pattern[i] == '*') {
      name += rest;
    } else {
      name += pattern[i];
    }
  }
  return name;
}

}  // namespace

std::vector<FileName> file_names(std::span<const NameRule> rules, const RuleNumbers& numbers, std::string_view weight) {
  std::vector<FileName> names;
  for (const NameRule& rule : rules) {
    std::optional<Match> found = match(rule.model, weight);
    if (!found) continue;
    const std::optional<std::string> rest = spelled(rule.rest, found->rest);
    if (!rest) continue;
    found->numbers.insert(numbers.begin(), numbers.end());
    names.push_back({expand(rule.file, found->numbers, *rest), rule.rows, rule.change});
  }
  return names;
}

RuleNumbers count_numbers(std::span<const CountedNumber> numbers, std::span<const std::string_view> names) {
  RuleNumbers result;
  for (const CountedNumber& counted : numbers) {
    int64_t& value = result.emplace(counted.letter, 0).first->second;
    bool any = false;
    for (const std::string_view name : names) {
      const std::optional<Match> found = match(counted.pattern, name);
      if (!found) continue;
      const int64_t number = found->numbers.at('n');
      if (counted.which == CountedNumber::count)
        value = std::max(value, number + 1);
      else
        value = any ? std::min(value, number) : number;
      any = true;
    }
  }
  return result;
}

}  // namespace vivace
