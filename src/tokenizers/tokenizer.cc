// The list of tokenizers.
#include "tokenizers/tokenizer.h"

#include <algorithm>

#include "base/log.h"
#include "tokenizers/clip_tokenizer.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Entry {
  std::string_view class_name;
  std::shared_ptr<const Tokenizer> (*open)(const std::filesystem::path& folder);
};

std::shared_ptr<const Tokenizer> clip(const std::filesystem::path& folder) {
  return std::make_shared<const CLIPTokenizer>(CLIPTokenizer::from_pretrained(folder));
}
std::shared_ptr<const Tokenizer> t5(const std::filesystem::path& folder) {
  return std::make_shared<const SentencePieceTokenizer>(SentencePieceTokenizer::from_pretrained(folder, PieceKind::unigram));
}
std::shared_ptr<const Tokenizer> llama(const std::filesystem::path& folder) {
  return std::make_shared<const SentencePieceTokenizer>(SentencePieceTokenizer::from_pretrained(folder, PieceKind::pairs));
}

constexpr Entry kTokenizers[] = {
    {"CLIPTokenizer", clip}, {"CLIPTokenizerFast", clip}, {"T5Tokenizer", t5},
    {"T5TokenizerFast", t5}, {"LlamaTokenizer", llama},   {"LlamaTokenizerFast", llama},
};

const Entry* entry_of(std::string_view class_name) {
  const auto* entry = std::ranges::find(kTokenizers, class_name, &Entry::class_name);
  return entry == std::end(kTokenizers) ? nullptr : entry;
}

}  // namespace

bool is_tokenizer(std::string_view class_name) { return entry_of(class_name) != nullptr; }

std::shared_ptr<const Tokenizer> open_tokenizer(std::string_view class_name, const std::filesystem::path& folder) {
  const Entry* entry = entry_of(class_name);
  if (!entry) throw InternalError(cat(class_name, " is no tokenizer"));
  return entry->open(folder);
}

}  // namespace vivace
