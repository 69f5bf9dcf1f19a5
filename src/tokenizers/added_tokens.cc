#include "tokenizers/added_tokens.h"

#include <algorithm>

#include "tokenizers/unicode.h"

namespace vivace {
namespace {

// Where the last code point of text[0, end) begins; end > 0.
size_t last_code_point(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool word_ends_at(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t position = last_code_point(text, end);
  return is_word(next_code_point(text, position));
}

bool word_begins_at(std::string_view text, size_t position) { return position < text.size() && is_word(next_code_point(text, position)); }

size_t skip_white_space(std::string_view text, size_t position) {
  while (position < text.size()) {
    size_t next = position;
    if (!is_white_space(next_code_point(text, next))) break;
    position = next;
  }
  return position;
}

size_t skip_white_space_back(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t before = last_code_point(text, end);
    size_t position = before;
    if (!is_white_space(next_code_point(text, position))) break;
    end = before;
  }
  return end;
}

}  // namespace

void AddedTokens::add(const AddedToken& token, int32_t id) {
  Pattern pattern{token.normalized ? normalize_(token.content) : token.content, token, id};
  texts_[id] = pattern.text;
  if (pattern.text.empty()) return;  // nothing is left of it
  Patterns& patterns = patterns_[token.normalized];
  patterns.first_byte[static_cast<unsigned char>(pattern.text[0])] = true;
  // After those of equal length: the first one added wins.
  auto& list = patterns.longest_first;
  const auto place = std::find_if(list.begin(), list.end(), [&](const Pattern& other) { return other.text.size() < pattern.text.size(); });
  list.insert(place, std::move(pattern));
}

const std::string* AddedTokens::text(int32_t id) const {
  const auto found = texts_.find(id);
  return found == texts_.end() ? nullptr : &found->second;
}

const AddedTokens::Pattern* AddedTokens::Patterns::match(std::string_view text, size_t position) const {
  if (!first_byte[static_cast<unsigned char>(text[position])]) return nullptr;
  for (const Pattern& pattern : longest_first)
    if (text.substr(position).starts_with(pattern.text)) return &pattern;
  return nullptr;
}

std::vector<AddedTokens::Piece> AddedTokens::split(std::string_view text, bool normalized) const {
  const Patterns& patterns = patterns_[normalized];
  std::vector<Piece> pieces;
  size_t done = 0;  // the text before it is in `pieces`
  for (size_t position = 0; position < text.size();) {
    const Pattern* pattern = patterns.match(text, position);
    if (!pattern) {
      ++position;
      continue;
    }
    size_t start = position, stop = position + pattern->text.size();
    position = stop;
    const AddedToken& token = pattern->token;
    if (token.single_word && (word_ends_at(text, start) || word_begins_at(text, stop))) continue;
    if (token.lstrip) start = std::max(skip_white_space_back(text, start), done);
    if (token.rstrip) stop = skip_white_space(text, stop);
    if (done < start) pieces.push_back({text.substr(done, start - done), -1});
    pieces.push_back({text.substr(start, stop - start), pattern->id});
    done = stop;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
  return pieces;
}

}  // namespace vivace
