#include "weights/token_embeddings.h"

#include "base/log.h"

namespace vivace {

std::optional<ModelWeight> TokenEmbeddings::find(std::string_view name, const Below& below) const {
  std::optional<ModelWeight> table = below(name);
  if (!table || name != "text_model.embeddings.token_embedding.weight") return table;
  std::vector<ModelWeight> parts{rows(*table, 0, kept_)};
  Shape shape = parts[0].shape;
  DType dtype = table->dtype;
  for (const StoredTensor& tensor : added_) {
    parts.push_back(as_stored(tensor));
    shape[0] += tensor.info.shape[0];
    if (tensor.info.dtype != dtype) dtype = DType::float32;
  }
  return made_of(std::move(parts), dtype, shape, [dtype](Builder& b, std::span<const Value> values) {
    std::vector<Value> same;
    for (const Value v : values) same.push_back(b.cast(v, dtype));
    return b.concat(same, 0);
  });
}

std::string TokenEmbeddings::structure() const {
  std::string text = cat("tokens ", kept_);
  for (const StoredTensor& tensor : added_) text += cat(' ', dtype_name(tensor.info.dtype), to_string(tensor.info.shape));
  return text;
}

}  // namespace vivace
