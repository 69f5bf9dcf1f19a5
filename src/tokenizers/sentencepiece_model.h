// Models of the sentencepiece library as it writes them (its protobuf message ModelProto).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

struct SentencePiece {
  enum class Type : uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  std::string text;
  float score = 0;
  Type type = Type::normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;  // by id
  int32_t unknown = 0;                // the id of the one of that type
  bool unigram = true;                // pieces are chosen by their scores, not merged in pairs
  std::string charsmap;               // the normaliser's precompiled_charsmap; empty where it has none

  // Throws UserError that begins with `name`: no such message, no pieces, one that is not UTF-8, none or several that are the unknown one.
  static SentencePieceModel parse(std::string_view bytes, const std::string& name);
};

// Bytes of a base64 text. Throws UserError with `name` where it is none.
std::string decode_base64(std::string_view text, const std::string& name);

}  // namespace vivace
