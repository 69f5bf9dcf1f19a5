#include "tokenizers/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "tokenizers/unicode_tables.h"

namespace vivace {
namespace {

template <class Range, size_t n>
const Range* find_range(const Range (&ranges)[n], char32_t c) {
  const Range* range = std::lower_bound(std::begin(ranges), std::end(ranges), c, [](const Range& r, char32_t value) { return r.last < value; });
  return range != std::end(ranges) && range->first <= c ? range : nullptr;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

int combining_class(char32_t c) {
  if (c < 0x300 || find_range(kMarksNotReordered, c)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Canonical decomposition of one code point, appended.
void decompose(char32_t c, std::vector<char32_t>& out) {
  if (c < 0xC0 || c == kCompositeNotMade) {
    out.push_back(c);
    return;
  }
  utf8proc_int32_t parts[8];
  int boundary = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, std::ssize(parts), options, &boundary);
  if (count <= 0 || count > std::ssize(parts)) {
    out.push_back(c);
    return;
  }
  out.insert(out.end(), parts, parts + count);
}

// The canonical composite of two code points, 0 if there is none.
char32_t compose(char32_t first, char32_t second) {
  if (second < 0x300) return 0;
  utf8proc_int32_t pair[2] = {static_cast<utf8proc_int32_t>(first), static_cast<utf8proc_int32_t>(second)};
  const auto length = utf8proc_normalize_utf32(pair, 2, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  return length == 1 && static_cast<char32_t>(pair[0]) != kCompositeNotMade ? static_cast<char32_t>(pair[0]) : 0;
}

struct Decomposed {
  char32_t code_point;
  int combining_class;
};

}  // namespace

char32_t next_code_point(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[position + i])); };
  const char32_t lead = byte(0);
  char32_t c = lead;
  size_t length = 1;
  if (lead >= 0xF0) {
    c = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    length = 4;
  } else if (lead >= 0xE0) {
    c = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    length = 3;
  } else if (lead >= 0x80) {
    c = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    length = 2;
  }
  position += length;
  return c;
}

void append_code_point(std::string& text, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

// utf8proc_NFC would do but for the normaliser's older tables, and it sorts runs of marks in quadratic time.
std::string to_nfc(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  std::vector<char32_t> code_points;
  code_points.reserve(text.size());
  for (size_t position = 0; position < text.size();) decompose(next_code_point(text, position), code_points);

  std::vector<Decomposed> marks;
  marks.reserve(code_points.size());
  for (const char32_t c : code_points) marks.push_back({c, combining_class(c)});
  for (auto run = marks.begin(); run != marks.end();) {
    const auto end = std::find_if(run, marks.end(), [](const Decomposed& d) { return d.combining_class == 0; });
    std::stable_sort(run, end, [](const Decomposed& a, const Decomposed& b) { return a.combining_class < b.combining_class; });
    run = std::find_if(end, marks.end(), [](const Decomposed& d) { return d.combining_class != 0; });
  }

  // Each code point is joined to the last starter unless one of the same or a higher class stands between them.
  std::vector<char32_t> composed;
  composed.reserve(marks.size());
  ptrdiff_t starter = -1;
  int between = -1;  // the class of the last code point kept since the starter, -1 for none
  for (const auto& [c, mark_class] : marks) {
    const char32_t joined = starter >= 0 && between < mark_class ? compose(composed[starter], c) : 0;
    if (joined) {
      composed[starter] = joined;
      continue;
    }
    if (mark_class == 0) {
      starter = std::ssize(composed);
      between = -1;
    } else {
      between = mark_class;
    }
    composed.push_back(c);
  }

  std::string out;
  out.reserve(text.size());
  for (const char32_t c : composed) append_code_point(out, c);
  return out;
}

std::string to_lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    if (c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    } else if (c == 0x130) {  // the one code point whose lower case is two: i with a dot above
      out += "i\xCC\x87";
    } else if (const CaseRange* range = find_range(kNewUpperCase, c)) {
      append_code_point(out, c + range->to_lower);
    } else {
      append_code_point(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

std::string collapse_white_space(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_space = false;
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    const bool space = is_white_space(next_code_point(text, position));
    if (!space) out += text.substr(start, position - start);
    if (space && !in_space) out += ' ';
    in_space = space;
  }
  return out;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO) || (kind == UTF8PROC_CATEGORY_CN && find_range(kNewLetters, c));
}

bool is_number(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) || (kind == UTF8PROC_CATEGORY_CN && find_range(kNewNumbers, c));
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word(char32_t c) {
  if (is_letter(c)) return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Joiners, and the circled and squared letters, which are symbols by category but alphabetic.
  return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

}  // namespace vivace
