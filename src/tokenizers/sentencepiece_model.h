// Models of the sentencepiece library as it reads and writes them (its protobuf message ModelProto).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

struct SentencePiece {
  enum class Type : uint8_t { normal = 1, unknown = 2, control = 3 };
  std::string text;
  float score = 0;
  Type type = Type::normal;
};

// A unigram model of these pieces, by id; one of them is the unknown one. Without a normaliser.
std::string serialize_unigram(const std::vector<SentencePiece>& pieces);
// Whether the pieces of a model are chosen by their scores, not merged in pairs.
bool is_unigram(std::string_view model);
// The normaliser's precompiled_charsmap of a model; empty where it has none or is no model.
std::string charsmap_of(std::string_view model);
// The model without its normaliser: it takes texts as they come.
std::string without_normalizer(std::string_view model);

// Bytes of a base64 text. Throws UserError with `name` where it is none.
std::string decode_base64(std::string_view text, const std::string& name);

}  // namespace vivace
