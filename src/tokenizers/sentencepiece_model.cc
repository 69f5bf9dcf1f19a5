#include "tokenizers/sentencepiece_model.h"

#include <cstring>

#include "base/log.h"
#include "base/utf8.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Of ModelProto, its SentencePiece, TrainerSpec and NormalizerSpec.
enum Number : uint64_t {
  kPieces = 1,
  kTrainer = 2,
  kNormalizer = 3,
  kPieceText = 1,
  kPieceScore = 2,
  kPieceType = 3,
  kModelType = 3,
  kCharsmap = 2,
};
constexpr uint64_t kUnigram = 1;

// A field of a message in protobuf's wire format.
struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of a number
  std::string_view bytes;  // of anything else
};

// Reads a message field by field. Of a field that is there several times the last one counts.
class Message {
 public:
  Message(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  bool next(Field& field) {
    if (at_ == bytes_.size()) return false;
    const uint64_t key = number();
    field = {.number = key >> 3, .value = 0, .bytes = {}};
    switch (key & 7) {
      case 0:
        field.value = number();
        break;
      case 1:
        field.bytes = take(8);
        break;
      case 2:
        field.bytes = take(number());
        break;
      case 5:
        field.bytes = take(4);
        break;
      default:
        damaged();
    }
    return true;
  }

 private:
  [[noreturn]] void damaged() const { throw UserError(cat(name_, ": no model of sentencepiece, or a damaged one: copy or download it again")); }
  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; at_ < bytes_.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) damaged();
    const std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }

  std::string_view bytes_;
  const std::string& name_;
  size_t at_ = 0;
};

SentencePiece read_piece(std::string_view bytes, const std::string& name) {
  SentencePiece piece;
  Message message(bytes, name);
  for (Field field; message.next(field);) {
    if (field.number == kPieceText) piece.text = field.bytes;
    if (field.number == kPieceScore && field.bytes.size() == sizeof piece.score)
      std::memcpy(&piece.score, field.bytes.data(), sizeof piece.score);  // little endian, as everything here
    if (field.number == kPieceType) piece.type = static_cast<SentencePiece::Type>(field.value);
  }
  return piece;
}

}  // namespace

SentencePieceModel SentencePieceModel::parse(std::string_view bytes, const std::string& name) {
  SentencePieceModel model;
  Message message(bytes, name);
  for (Field field; message.next(field);) {
    Message inner(field.bytes, name);
    Field setting;
    if (field.number == kPieces) model.pieces.push_back(read_piece(field.bytes, name));
    if (field.number == kTrainer)
      while (inner.next(setting))
        if (setting.number == kModelType) model.unigram = setting.value == kUnigram;
    if (field.number == kNormalizer)
      while (inner.next(setting))
        if (setting.number == kCharsmap) model.charsmap = setting.bytes;
  }
  if (model.pieces.empty()) throw UserError(cat(name, ": no model of sentencepiece: expected one with pieces"));
  int unknown = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (piece.text.empty() || to_valid_utf8(piece.text) != piece.text)
      throw UserError(
          cat(name, ": piece ", id, " is ", piece.text.empty() ? "empty" : "not UTF-8", ": the model is damaged, copy or download it again"));
    if (piece.type != SentencePiece::Type::unknown) continue;
    model.unknown = static_cast<int32_t>(id);
    ++unknown;
  }
  if (unknown != 1) throw UserError(cat(name, ": ", unknown, " pieces stand for what is unknown: expected one"));
  return model;
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
