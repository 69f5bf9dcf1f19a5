// Textual inversion: rows behind a text encoder's table of token embeddings.
#pragma once

#include <vector>

#include "weights/weight_stack.h"

namespace vivace {

class TokenEmbeddings final : public WeightLayer {
 public:
  // The first `kept` rows of the table, then these, each of [n, width].
  TokenEmbeddings(int64_t kept, std::vector<StoredTensor> added) : kept_(kept), added_(std::move(added)) {}
  std::optional<ModelWeight> find(std::string_view name, const Below& below) const override;
  std::string structure() const override;

 private:
  int64_t kept_;
  std::vector<StoredTensor> added_;
};

}  // namespace vivace
