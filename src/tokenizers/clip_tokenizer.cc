#include "tokenizers/clip_tokenizer.h"

#include <algorithm>
#include <array>
#include <ranges>
#include <system_error>

#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/byte_pair_files.h"
#include "tokenizers/tokenizer_config.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kEndOfWord = "</w>";
// They are words of their own also where the checkpoint's special tokens have other names.
constexpr std::array<std::string_view, 2> kMarkers = {"<|startoftext|>", "<|endoftext|>"};
// Tried in this order.
constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

std::string normalize(std::string_view text) { return to_lowercase(collapse_white_space(to_nfc(text))); }

enum class Kind { letter, number, space, other };

Kind kind_of(char32_t c) {
  if (is_letter(c)) return Kind::letter;
  if (is_number(c)) return Kind::number;
  return is_white_space(c) ? Kind::space : Kind::other;
}

// Calls word(text) for each match of
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// where the first two are split once more, as the byte-level step after it does: "<|", "startoftext", "|>".
template <class Word>
void split_words(std::string_view text, const Word& word) {
  while (!text.empty()) {
    const auto begins = [&](std::string_view prefix) { return text.starts_with(prefix); };
    if (const auto marker = std::find_if(kMarkers.begin(), kMarkers.end(), begins); marker != kMarkers.end()) {
      word(marker->substr(0, 2));
      word(marker->substr(2, marker->size() - 4));
      word(marker->substr(marker->size() - 2));
      text.remove_prefix(marker->size());
      continue;
    }
    if (const auto contraction = std::find_if(kContractions.begin(), kContractions.end(), begins); contraction != kContractions.end()) {
      word(*contraction);
      text.remove_prefix(contraction->size());
      continue;
    }
    size_t end = 0;
    const Kind kind = kind_of(next_code_point(text, end));
    while (kind != Kind::number && end < text.size()) {
      size_t next = end;
      if (kind_of(next_code_point(text, next)) != kind) break;
      end = next;
    }
    if (kind != Kind::space) word(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::string without_outer_white_space(const std::string& text) {
  // Python's str.strip, which also takes the four information separators.
  const auto strips = [](char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); };
  size_t first = text.size(), last = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    if (strips(next_code_point(text, position))) continue;
    first = std::min(first, start);
    last = position;
  }
  return first < last ? text.substr(first, last - first) : std::string();
}

void add_merges(BytePairEncoding& encoding, const BytePairFiles& files) {
  encoding.reserve_merges(files.merges.size());
  std::string merged;
  for (const auto& [left, right] : files.merges) {
    merged.assign(left).append(right);
    const int32_t left_id = files.vocabulary.find(left), right_id = files.vocabulary.find(right), merged_id = files.vocabulary.find(merged);
    if (std::min({left_id, right_id, merged_id}) < 0) {
      const std::string& missing = left_id < 0 ? left : right_id < 0 ? right : merged;
      throw UserError(cat(files.merges_name, ": merge of ", in_quotes(left), " and ", in_quotes(right), ": the vocabulary (", files.vocabulary_name,
                          ") has no token ", in_quotes(missing), ": expected files that belong together"));
    }
    encoding.add_merge(left_id, right_id, merged_id);
  }
}

}  // namespace

CLIPTokenizer::CLIPTokenizer() : added_tokens_(normalize) {}

CLIPTokenizer CLIPTokenizer::from_pretrained(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    throw UserError(cat(folder.string(), ": no such folder: expected a tokenizer folder with vocab.json and merges.txt"));
  BytePairFiles files = BytePairFiles::read(folder);
  const std::string end(kMarkers[1]);
  const TokenizerConfig config = TokenizerConfig::read(folder, {.bos_token = std::string(kMarkers[0]),
                                                                .eos_token = end,
                                                                .unk_token = end,
                                                                .pad_token = end,
                                                                .needed = {"bos_token", "eos_token", "unk_token", "pad_token"},
                                                                .model_max_length = 77,
                                                                .listed = {},
                                                                .further_prefix = {},
                                                                .further = {}});
  if (config.pads_left)
    throw UserError(cat(config.name, ": field \"padding_side\": expected \"right\", which is all that is supported, not \"left\""));

  const auto declared_end = config.added_tokens.begin() + static_cast<ptrdiff_t>(config.declared);
  const std::array<std::pair<const char*, const std::string*>, 4> needed = {
      {{"bos_token", &config.bos_token}, {"eos_token", &config.eos_token}, {"unk_token", &config.unk_token}, {"pad_token", &config.pad_token}}};
  for (const auto& [key, content] : needed) {
    const auto same = [wanted = content](const AddedToken& token) { return token.content == *wanted; };
    const bool may_be_added = std::string_view(key) != "unk_token";  // the byte-pair encoding itself needs it
    if (files.vocabulary.find(*content) < 0 && !(may_be_added && std::any_of(config.added_tokens.begin(), declared_end, same)))
      throw UserError(
          cat(files.vocabulary_name, ": no token ", in_quotes(*content), ": expected the ", key, " of ", config.name, " in the vocabulary"));
  }

  const auto ends_a_word = [&](int byte) { return files.vocabulary.find(cat(byte_spelling(static_cast<uint8_t>(byte)), kEndOfWord)) >= 0; };
  if (std::ranges::none_of(std::views::iota(0, 256), ends_a_word))
    throw UserError(cat(files.vocabulary_name, ": no byte with ", in_quotes(kEndOfWord),
                        " behind it: expected the tokens of a CLIPTokenizer, in which it ends a word"));

  CLIPTokenizer tokenizer;
  tokenizer.encoding_ = BytePairEncoding(files.vocabulary, kEndOfWord, files.vocabulary.find(config.unk_token));
  add_merges(tokenizer.encoding_, files);

  // A token that the vocabulary lacks gets the next id behind it, whatever id its declaration gives.
  tokenizer.vocabulary_ = std::move(files.vocabulary);
  Vocabulary& vocabulary = tokenizer.vocabulary_;
  tokenizer.vocab_size_ = vocabulary.size();
  int32_t next_id = vocabulary.size();
  for (auto token = config.added_tokens.begin(); token != config.added_tokens.end(); ++token) {
    const auto same = [&](const AddedToken& other) { return other.content == token->content; };
    int32_t id = vocabulary.find(token->content);
    if (id < 0) {
      id = next_id;
      if (id > Vocabulary::kMaxId || vocabulary.add(token->content, id) != Vocabulary::Added::yes)
        throw UserError(cat(files.vocabulary_name, ": no room for the added token ", in_quotes(token->content), ": id ", id,
                            " is taken: expected a vocabulary with ids from 0 on, without gaps"));
    }
    next_id = std::max(next_id, id + 1);
    if (token->special) tokenizer.special_ids_.push_back(id);
    if (std::none_of(token + 1, config.added_tokens.end(), same)) tokenizer.added_tokens_.add(*token, id);
  }
  tokenizer.bos_token_id_ = vocabulary.find(config.bos_token);
  tokenizer.eos_token_id_ = vocabulary.find(config.eos_token);
  tokenizer.pad_token_id_ = vocabulary.find(config.pad_token);
  tokenizer.model_max_length_ = static_cast<int>(config.model_max_length);
  return tokenizer;
}

void CLIPTokenizer::encode_words(std::string_view text, std::vector<int32_t>& ids) const {
  split_words(text, [&](std::string_view word) { encoding_.encode_word(word, ids); });
}

CLIPTokenizer CLIPTokenizer::with_token(const std::string& token, int count) const {
  CLIPTokenizer result = *this;
  const int32_t first = size();
  for (int i = 0; i < count; ++i) {
    const std::string content = i == 0 ? token : cat(token, '_', i);
    if (content.empty() || result.vocabulary_.find(content) >= 0 || result.vocabulary_.add(content, first + i) != Vocabulary::Added::yes)
      throw UsageError(cat("the token ", in_quotes(content), " cannot be added: expected one that the tokenizer does not have"));
    result.added_tokens_.add({.content = content}, first + i);
  }
  if (count > 1) result.repeats_[first] = count;
  return result;
}

std::vector<int32_t> CLIPTokenizer::tokenize_ids(std::string_view text) const {
  std::vector<int32_t> ids;
  const auto add = [&](int32_t id) {
    const auto repeated = repeats_.find(id);
    for (int i = 0; i < (repeated == repeats_.end() ? 1 : repeated->second); ++i) ids.push_back(id + i);
  };
  const std::string valid = to_valid_utf8(text);
  for (const auto& [raw, raw_id] : added_tokens_.split(valid, false)) {
    if (raw_id >= 0) {
      add(raw_id);
      continue;
    }
    const std::string normalized = normalize(raw);
    for (const auto& [piece, id] : added_tokens_.split(normalized, true)) {
      if (id >= 0)
        add(id);
      else
        encode_words(piece, ids);
    }
  }
  return ids;
}

CLIPTokenizer::Encoding CLIPTokenizer::encode(std::string_view text, int length) const {
  const std::vector<int32_t> tokens = tokenize_ids(text);
  const size_t kept = std::min(tokens.size(), static_cast<size_t>(length) - 2);
  Encoding encoding;
  encoding.ids.reserve(static_cast<size_t>(length));
  encoding.ids.push_back(bos_token_id_);
  encoding.ids.insert(encoding.ids.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept));
  encoding.ids.push_back(eos_token_id_);
  encoding.length = static_cast<int>(encoding.ids.size());
  encoding.ids.resize(static_cast<size_t>(length), pad_token_id_);
  if (kept < tokens.size()) encoding.truncated = decode(std::span(tokens).subspan(kept));
  return encoding;
}

std::string CLIPTokenizer::token(int32_t id) const {
  if (const std::string* added = added_tokens_.text(id)) return *added;
  return vocabulary_.contains(id) ? std::string(vocabulary_.text(id)) : std::string();
}

std::string CLIPTokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (skip_special_tokens && std::find(special_ids_.begin(), special_ids_.end(), id) != special_ids_.end()) continue;
    append_spelled_bytes(bytes, token(id));
  }
  std::string text = to_valid_utf8(bytes);
  std::string spaced;
  spaced.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const size_t end = std::min(text.find(kEndOfWord, position), text.size());
    spaced.append(text, position, end - position);
    if (end == text.size()) break;
    spaced += ' ';
    position = end + kEndOfWord.size();
  }
  return without_outer_white_space(spaced);
}

}  // namespace vivace
