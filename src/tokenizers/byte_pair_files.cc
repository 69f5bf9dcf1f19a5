#include "tokenizers/byte_pair_files.h"

#include <algorithm>

#include "base/file_kind.h"
#include "base/files.h"
#include "base/json_events.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

// Follows a JSON text and hands out its values with the way to them. No tree is built: one of 49,408 tokens would take longer than all the
// rest of loading.
class PathReader : public Json::json_sax_t {
 public:
  explicit PathReader(const std::string& name) : name_(name) {}
  void read(std::string_view text) {
    head_ = text.substr(0, 64);
    read_json_events(text, *this);
  }

 protected:
  // A string, number, boolean or null at path_; an object or a list that begins or ends, path_.back() being a place in it.
  virtual void value(const Json& value) = 0;
  virtual void begin() = 0;
  virtual void end() {}
  virtual std::string expected() const = 0;

  bool at(size_t depth, std::string_view first, std::string_view second) const {
    return path_.size() == depth && path_[0] == first && path_[1] == second;
  }
  [[noreturn]] void wrong() const {
    std::string place;
    for (const std::string& part : path_) place += cat(place.empty() ? "" : ".", part);
    throw UserError(cat(name_, ": wrong value at ", in_quotes(place), ": expected ", expected()));
  }

  const std::string& name_;
  std::vector<std::string> path_;  // the keys that lead to the value at hand, "[]" for a place in a list; empty at the top

 private:
  static constexpr size_t kMaxDepth = 64;
  std::string_view head_;  // of the text

  bool enter(const char* place) {
    if (path_.size() >= kMaxDepth) wrong();
    path_.emplace_back(place);
    begin();
    return true;
  }
  bool leave() {
    end();
    path_.pop_back();
    return true;
  }
  bool take(const Json& given) {
    if (path_.empty()) wrong();
    value(given);
    return true;
  }
  bool start_object(size_t) override { return enter(""); }
  bool start_array(size_t) override { return enter("[]"); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& key) override {
    path_.back() = key;
    return true;
  }
  bool null() override { return take(nullptr); }
  bool boolean(bool given) override { return take(given); }
  bool string(std::string& given) override { return take(given); }
  bool number_float(double given, const std::string&) override { return take(given); }
  bool number_integer(int64_t given) override { return take(given); }
  bool number_unsigned(uint64_t given) override { return take(given); }
  bool binary(Json::binary_t&) override { return true; }  // stands in no JSON text
  bool parse_error(size_t position, const std::string&, const Json::exception& error) override {
    std::string what = to_valid_utf8(error.what());
    if (const size_t prefix = what.find("] "); prefix != what.npos) what.erase(0, prefix + 2);
    std::replace_if(
        what.begin(), what.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    if (const std::string kind = file_kind_note(head_); !kind.empty()) throw UserError(cat(name_, ": not a JSON file", kind));
    throw UserError(cat(name_, ": not valid JSON at byte ", position, ": ", what));
  }
};

void add_to_vocabulary(Vocabulary& vocabulary, const std::string& name, const std::string& token, const Json& id) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(Vocabulary::kMaxId))
    throw UserError(cat(name, ": token ", in_quotes(token), ": expected an id from 0 to ", Vocabulary::kMaxId));
  const auto number = id.get<int32_t>();
  switch (vocabulary.add(token, number)) {
    case Vocabulary::Added::yes:
      return;
    case Vocabulary::Added::text_taken:
      throw UserError(cat(name, ": token ", in_quotes(token), " stands there twice: expected each token once"));
    case Vocabulary::Added::id_taken:
      throw UserError(cat(name, ": tokens ", in_quotes(vocabulary.text(number)), " and ", in_quotes(token), " both have the id ", number,
                          ": expected an id of its own for each"));
  }
}

class VocabularyReader final : public PathReader {
 public:
  VocabularyReader(const std::string& name, Vocabulary& vocabulary) : PathReader(name), vocabulary_(vocabulary) {}

 private:
  void value(const Json& value) override { add_to_vocabulary(vocabulary_, name_, path_.back(), value); }
  void begin() override {
    if (path_.size() > 1 || path_.back() == "[]") wrong();
  }
  std::string expected() const override { return "one object with an id for each token, {\"a\": 0, ...}"; }

  Vocabulary& vocabulary_;
};

class TokenizerReader final : public PathReader {
 public:
  TokenizerReader(const std::string& name, BytePairFiles& out) : PathReader(name), out_(out) {}

 private:
  std::string expected() const override { return "the tokenizer.json of a byte-pair (BPE) tokenizer"; }
  void begin() override {
    if (path_.size() == 1 && path_.back() == "[]") wrong();
    if (at(3, "model", "vocab") && path_.back() == "[]") wrong();
    if (at(4, "model", "vocab")) wrong();
    if (at(4, "model", "merges")) pair_.clear();
  }
  void end() override {
    if (at(4, "model", "merges")) add_merge();
  }
  void value(const Json& value) override {
    if (at(3, "model", "vocab")) add_to_vocabulary(out_.vocabulary, name_, path_.back(), value);
    if (at(2, "model", "type") && value != "BPE") wrong();
    if (!at(3, "model", "merges") && !at(4, "model", "merges")) return;
    if (!value.is_string()) wrong();
    if (path_.size() == 4) return pair_.push_back(value);    // ["a", "b"]
    const auto& text = value.get_ref<const std::string&>();  // the older way of writing, "a b"
    const size_t space = text.find(' ');
    if (space == text.npos) wrong();
    pair_ = {text.substr(0, space), text.substr(space + 1)};
    add_merge();
  }
  void add_merge() {
    if (pair_.size() != 2) wrong();
    out_.merges.push_back({std::move(pair_[0]), std::move(pair_[1])});
  }

  BytePairFiles& out_;
  std::vector<std::string> pair_;
};

class AddedTokensReader final : public PathReader {
 public:
  AddedTokensReader(const std::string& name, std::map<int32_t, AddedToken>& out) : PathReader(name), out_(out) {}

 private:
  std::string expected() const override { return "the added tokens of a tokenizer.json, [{\"id\": 0, \"content\": ...}, ...]"; }
  void begin() override {
    if (at(3, "added_tokens", "[]")) token_ = Json::object();
  }
  void end() override {
    if (at(3, "added_tokens", "[]")) add_token();
  }
  void value(const Json& value) override {
    if (at(3, "added_tokens", "[]")) token_[path_.back()] = value;
  }
  void add_token() {
    try {
      AddedToken token{.content = token_.at("content"), .special = token_.value("special", false)};
      token.normalized = token_.value("normalized", !token.special);
      token.single_word = token_.value("single_word", false);
      token.lstrip = token_.value("lstrip", false);
      token.rstrip = token_.value("rstrip", false);
      const Json& id = token_.at("id");
      if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(Vocabulary::kMaxId)) wrong();
      out_[id.get<int32_t>()] = std::move(token);
    } catch (const Json::exception&) {
      wrong();
    }
  }

  std::map<int32_t, AddedToken>& out_;
  Json token_;
};

void check_not_empty(const Vocabulary& vocabulary, const std::string& name) {
  if (vocabulary.size() == 0) throw UserError(cat(name, ": no tokens: expected a vocabulary with an id for each token"));
}

}  // namespace

void BytePairFiles::parse_vocabulary(std::string_view vocab_json, const std::string& name) {
  vocabulary_name = name;
  VocabularyReader(name, vocabulary).read(vocab_json);
  check_not_empty(vocabulary, name);
}

void BytePairFiles::parse_merges(std::string_view merges_txt, const std::string& name) {
  merges_name = name;
  if (const std::string kind = file_kind_note(merges_txt.substr(0, 64)); !kind.empty()) throw UserError(cat(name, ": not a list of merges", kind));
  merges.reserve(merges.size() + static_cast<size_t>(std::count(merges_txt.begin(), merges_txt.end(), '\n')) + 1);
  size_t number = 0;
  while (!merges_txt.empty()) {
    ++number;
    const size_t newline = merges_txt.find('\n');
    std::string_view line = merges_txt.substr(0, newline);
    merges_txt.remove_prefix(newline == merges_txt.npos ? merges_txt.size() : newline + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || line.empty()) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space >= line.size() - 1 || line.find(' ', space + 1) != line.npos)
      throw UserError(cat(name, ": line ", number, ": ", in_quotes(line), ": expected two tokens with one space between them"));
    merges.push_back({std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
  }
}

BytePairFiles BytePairFiles::read(const std::filesystem::path& folder) {
  const auto vocab_json = folder / "vocab.json", merges_txt = folder / "merges.txt", tokenizer_json = folder / "tokenizer.json";
  std::error_code ignored;
  BytePairFiles files;
  if (!std::filesystem::exists(vocab_json, ignored) && std::filesystem::exists(tokenizer_json, ignored)) {
    files.parse_tokenizer(read_file(tokenizer_json), tokenizer_json.string());
    return files;
  }
  files.parse_vocabulary(read_file(vocab_json), vocab_json.string());
  files.parse_merges(read_file(merges_txt), merges_txt.string());
  return files;
}

void BytePairFiles::parse_tokenizer(std::string_view tokenizer_json, const std::string& name) {
  vocabulary_name = merges_name = name;
  TokenizerReader(name, *this).read(tokenizer_json);
  check_not_empty(vocabulary, name);
}

std::map<int32_t, AddedToken> read_added_tokens(std::string_view tokenizer_json, const std::string& name) {
  std::map<int32_t, AddedToken> tokens;
  AddedTokensReader(name, tokens).read(tokenizer_json);
  return tokens;
}

}  // namespace vivace
