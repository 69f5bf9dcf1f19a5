#include "families/parts.h"

#include <ranges>

#include "base/joined.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

Model& Parts::model(std::string_view name) const {
  const auto found = models.find(name);
  if (found != models.end()) return *found->second;
  throw UsageError(cat("this checkpoint has no ", name, ": it has ", joined(std::views::keys(models))));
}

const Tokenizer* Parts::tokenizer(std::string_view name) const {
  const auto found = tokenizers.find(name);
  return found == tokenizers.end() ? nullptr : found->second.get();
}

std::string Parts::folder(std::string_view name) const {
  const auto found = elsewhere.find(name);
  return found == elsewhere.end() ? cat(path, "/", name) : found->second;
}

}  // namespace vivace
