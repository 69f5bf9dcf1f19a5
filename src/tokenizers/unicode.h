// The Unicode part of tokenizers, equal to what the Rust library behind transformers' tokenizers computes: its normaliser, its
// lower-casing and its regular expressions follow different versions of Unicode (9, 17 and 16), and so do these functions.
// utf8proc carries the tables; unicode_tables.h carries the differences.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vivace {

// All of them expect valid UTF-8.

// The code point at text[position], position < text.size(); moves position past it.
char32_t next_code_point(std::string_view text, size_t& position);
void append_code_point(std::string& text, char32_t code_point);

// Normalisation form C.
std::string to_nfc(std::string_view text);
// Code point by code point, full mappings: U+0130 becomes two code points, a final sigma is an ordinary sigma.
std::string to_lowercase(std::string_view text);
// Each run of white space becomes one space.
std::string collapse_white_space(std::string_view text);

bool is_letter(char32_t code_point);       // \p{L}
bool is_number(char32_t code_point);       // \p{N}
bool is_white_space(char32_t code_point);  // \s
bool is_word(char32_t code_point);         // \w

}  // namespace vivace
