// Tokens that are cut out of a text whole, before it is split into words: the special tokens and those that textual inversion adds.
// Names and rules are those of the AddedToken of transformers.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vivace {

struct AddedToken {
  std::string content;
  bool special = false;
  bool normalized = true;    // looked for in the normalised text, else in the text as it came
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it

  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  struct Piece {
    std::string_view text;
    int32_t id;  // -1: a piece of text, not empty; else an added token
  };

  // `normalize` is what the tokenizer does to a text; it is applied to the normalised tokens, too. Contents are not empty and differ.
  explicit AddedTokens(const std::function<std::string(std::string_view)>& normalize) : normalize_(normalize) {}
  void add(const AddedToken& token, int32_t id);
  // The added token as it is looked for: its normalised content where it is a normalised one. nullptr if `id` is no added token.
  const std::string* text(int32_t id) const;

  // The text cut at the normalised tokens, or at the others; of tokens that begin at one place the longest counts. Valid UTF-8 expected.
  // The pieces point into `text`.
  std::vector<Piece> split(std::string_view text, bool normalized) const;

 private:
  struct Pattern {
    std::string text;
    AddedToken token;
    int32_t id;
  };
  struct Patterns {
    std::vector<Pattern> longest_first;
    std::array<bool, 256> first_byte{};
    const Pattern* match(std::string_view text, size_t position) const;
  };

  std::function<std::string(std::string_view)> normalize_;
  std::array<Patterns, 2> patterns_;  // as they come; normalised
  std::unordered_map<int32_t, std::string> texts_;
};

}  // namespace vivace
