// The normaliser of sentencepiece's unigram models: a trie of byte sequences with what takes their place. Used as transformers uses it (the
// tokenizers library's Precompiled), which looks at whole grapheme clusters first and differs from sentencepiece's own where a mark follows what is
// replaced.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

class PrecompiledCharsmap {
 public:
  PrecompiledCharsmap() = default;  // changes nothing
  // Throws UserError with `name` for bytes that are none. Empty ones change nothing.
  PrecompiledCharsmap(std::string_view bytes, const std::string& name);
  // Valid UTF-8 expected.
  std::string normalize(std::string_view text) const;

 private:
  // What takes the place of the shortest prefix of `text` that the trie knows.
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<uint32_t> trie_;  // a double array, as darts-clone lays it out
  std::string texts_;           // each ends with a 0
};

}  // namespace vivace
