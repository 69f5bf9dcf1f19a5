#include "families/parts.h"

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

Model& Parts::model(std::string_view name) const {
  const auto found = models.find(name);
  if (found != models.end()) return *found->second;
  std::string known;
  for (const auto& [other, model] : models) known += cat(known.empty() ? "" : ", ", other);
  throw UsageError(cat("this checkpoint has no ", name, ": it has ", known));
}

const Tokenizer* Parts::tokenizer(std::string_view name) const {
  const auto found = tokenizers.find(name);
  return found == tokenizers.end() ? nullptr : found->second.get();
}

std::string Parts::folder(std::string_view name) const { return cat(path, "/", name); }

}  // namespace vivace
