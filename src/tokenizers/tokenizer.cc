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

template <class T>
std::shared_ptr<const Tokenizer> open(const std::filesystem::path& folder) {
  return std::make_shared<const T>(T::from_pretrained(folder));
}

constexpr Entry kTokenizers[] = {
    {"CLIPTokenizer", open<CLIPTokenizer>},           {"CLIPTokenizerFast", open<CLIPTokenizer>},
    {"T5Tokenizer", open<SentencePieceTokenizer>},    {"T5TokenizerFast", open<SentencePieceTokenizer>},
    {"LlamaTokenizer", open<SentencePieceTokenizer>}, {"LlamaTokenizerFast", open<SentencePieceTokenizer>},
};

const Entry* find(std::string_view class_name) {
  const auto* entry = std::ranges::find(kTokenizers, class_name, &Entry::class_name);
  return entry == std::end(kTokenizers) ? nullptr : entry;
}

}  // namespace

bool is_tokenizer(std::string_view class_name) { return find(class_name) != nullptr; }

std::shared_ptr<const Tokenizer> open_tokenizer(std::string_view class_name, const std::filesystem::path& folder) {
  const Entry* entry = find(class_name);
  if (!entry) throw InternalError(cat(class_name, " is no tokenizer"));
  return entry->open(folder);
}

}  // namespace vivace
