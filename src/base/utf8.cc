#include "base/utf8.h"

#include <algorithm>
#include <cstddef>

namespace vivace {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// How many bytes of the sequence at text[position] are a well-formed beginning; `whole` says that they are a whole code point.
size_t well_formed_length(std::string_view text, size_t position, bool& whole) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const int lead = byte(position);
  whole = lead < 0x80;
  if (whole) return 1;
  size_t length = 0;
  // The second byte's range keeps out overlong forms, surrogates and what lies beyond U+10FFFF.
  int low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) length = 2;
  if (lead >= 0xE0 && lead <= 0xEF) length = 3;
  if (lead >= 0xF0 && lead <= 0xF4) length = 4;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    const int next = byte(position + i);
    if (next < low || next > high) return i;
    low = 0x80, high = 0xBF;
  }
  whole = length > 0;
  return std::max<size_t>(length, 1);
}

}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    bool whole = false;
    const size_t length = well_formed_length(text, position, whole);
    out += whole ? text.substr(position, length) : kReplacement;
    position += length;
  }
  return out;
}

std::string printable(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) text[i] = ' ';
    // U+0080 to U+009F
    if (c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 && static_cast<unsigned char>(text[i + 1]) < 0xA0)
      text.replace(i, 2, " ");
  }
  return text;
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"" + to_valid_utf8(text.substr(0, 100)) + "\"";
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return out;
}

}  // namespace vivace
