#include "compiler/tuning_store.h"

#include <locale>
#include <sstream>

namespace vivace {
std::string print_tuning_result(const TuningResult& result) {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text.precision(9);
  text << result.seconds << ' ' << result.settings << '\n';
  for (const PlanCandidate& c : result.measured) text << c.seconds << ' ' << c.kernel << (c.tuning.empty() ? "" : " ") << c.tuning << '\n';
  return text.str();
}

std::optional<TuningResult> parse_tuning_result(const std::string& text) {
  std::istringstream lines(text);
  lines.imbue(std::locale::classic());
  TuningResult result;
  std::string line;
  if (!(lines >> result.seconds >> result.settings) || !std::getline(lines, line)) return std::nullopt;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    words.imbue(std::locale::classic());
    PlanCandidate candidate;
    if (!(words >> candidate.seconds >> candidate.kernel)) return std::nullopt;
    words.get();
    std::getline(words, candidate.tuning);
    result.measured.push_back(std::move(candidate));
  }
  return result.measured.empty() ? std::nullopt : std::optional(std::move(result));
}

std::optional<TuningResult> TuningStore::find(const std::string& key) {
  const std::lock_guard lock(*mutex_);
  if (const auto found = results_.find(key); found != results_.end()) return found->second;
  const std::optional<std::string> text = folder_.read(cache_kind::kTuning, key);
  std::optional<TuningResult> result = text ? parse_tuning_result(*text) : std::nullopt;
  if (result) results_[key] = *result;
  return result;
}

void TuningStore::put(const std::string& key, const TuningResult& result) {
  const std::lock_guard lock(*mutex_);
  results_[key] = result;
  folder_.write(cache_kind::kTuning, key, print_tuning_result(result));
}

}  // namespace vivace
