#include "tokenizers/sentencepiece_model.h"

#include <array>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Fields of protobuf's wire format.
void add_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void add_number(std::string& out, int field, uint64_t value) {
  add_varint(out, static_cast<uint64_t>(field) << 3);
  add_varint(out, value);
}

void add_bytes(std::string& out, int field, std::string_view bytes) {
  add_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  add_varint(out, bytes.size());
  out += bytes;
}

void add_float(std::string& out, int field, float value) {
  add_varint(out, static_cast<uint64_t>(field) << 3 | 5);
  std::array<char, sizeof value> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);  // little endian, as everything here
  out.append(bytes.data(), bytes.size());
}

// Of ModelProto, its SentencePiece, TrainerSpec and NormalizerSpec.
enum Field : int {
  kPieces = 1,
  kTrainer = 2,
  kNormalizer = 3,
  kPieceText = 1,
  kPieceScore = 2,
  kPieceType = 3,
  kModelType = 3,
  kName = 1,
  kCharsmap = 2,
  kDummyPrefix = 3,
  kRemoveSpaces = 4,
  kEscapeSpaces = 5
};
constexpr uint64_t kUnigram = 1;

// A field's value in a message, the last one where there are several: of numbers, of bytes or messages.
struct FieldValue {
  std::optional<uint64_t> number;
  std::string_view bytes;
};

FieldValue find(std::string_view message, int field) {
  FieldValue found;
  size_t at = 0;
  const auto varint = [&]() -> uint64_t {
    uint64_t value = 0;
    for (int shift = 0; at < message.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(message[at++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    at = message.size();
    return 0;
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    const bool wanted = key >> 3 == static_cast<uint64_t>(field);
    uint64_t size = 0;
    switch (key & 7) {
      case 0:
        if (const uint64_t number = varint(); wanted) found.number = number;
        break;
      case 1:
        size = 8;
        break;
      case 2:
        size = varint();
        break;
      case 5:
        size = 4;
        break;
      default:
        return found;
    }
    if (size > message.size() - at) return found;
    if ((key & 7) == 2 && wanted) found.bytes = message.substr(at, size);
    at += size;
  }
  return found;
}

}  // namespace

std::string serialize_unigram(const std::vector<SentencePiece>& pieces) {
  std::string model, part;
  for (const SentencePiece& piece : pieces) {
    part.clear();
    add_bytes(part, kPieceText, piece.text);
    add_float(part, kPieceScore, piece.score);
    add_number(part, kPieceType, static_cast<uint64_t>(piece.type));
    add_bytes(model, kPieces, part);
  }
  part.clear();
  add_number(part, kModelType, kUnigram);
  add_bytes(model, kTrainer, part);
  return without_normalizer(model);
}

bool is_unigram(std::string_view model) { return find(find(model, kTrainer).bytes, kModelType).number.value_or(kUnigram) == kUnigram; }

std::string charsmap_of(std::string_view model) { return std::string(find(find(model, kNormalizer).bytes, kCharsmap).bytes); }

std::string without_normalizer(std::string_view model) {
  // Messages that follow one another are merged, the later fields counting.
  std::string normalizer, result(model);
  add_bytes(normalizer, kName, "identity");
  add_bytes(normalizer, kCharsmap, "");
  for (int field : {kDummyPrefix, kRemoveSpaces, kEscapeSpaces}) add_number(normalizer, field, 0);
  add_bytes(result, kNormalizer, normalizer);
  return result;
}

std::string decode_base64(std::string_view text, const std::string& name) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const uint32_t value = c >= 'A' && c <= 'Z'   ? static_cast<uint32_t>(c - 'A')
                           : c >= 'a' && c <= 'z' ? static_cast<uint32_t>(c - 'a' + 26)
                           : c >= '0' && c <= '9' ? static_cast<uint32_t>(c - '0' + 52)
                           : c == '+'             ? 62u
                           : c == '/'             ? 63u
                                                  : 64u;
    if (value == 64) throw UserError(cat(name, ": expected base64"));
    bits = bits << 6 | value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count);
  }
  return bytes;
}

}  // namespace vivace
