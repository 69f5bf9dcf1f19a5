#include "tokenizers/sentencepiece_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ranges>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/piece_pairs.h"
#include "tokenizers/sentencepiece_model.h"
#include "tokenizers/tokenizer_config.h"
#include "tokenizers/unigram.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kSpace = "\u2581";  // stands for one in a piece
constexpr int64_t kMostExtraIds = 1 << 14;     // T5 has 100; a broken file is not to ask for all the memory there is

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The byte that a piece like "<0x0A>" stands for.
std::optional<uint8_t> byte_of(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>') || piece[3] == '-') return std::nullopt;
  uint8_t byte = 0;
  const char* end = piece.data() + 5;
  const auto [read, error] = std::from_chars(piece.data() + 3, end, byte, 16);
  return error == std::errc() && read == end ? std::optional(byte) : std::nullopt;
}

// The files of a tokenizer: a model, and what says how it is used.
struct Files {
  fs::path model, whole, config_path;
  Json json, config = Json::object();  // of tokenizer.json, null where there is none; of tokenizer_config.json
  std::string text;                    // of tokenizer.json

  Files(const fs::path& folder, bool unigram)
      : model(folder / (unigram ? "spiece.model" : "tokenizer.model")),
        whole(folder / "tokenizer.json"),
        config_path(folder / "tokenizer_config.json") {
    if (is_there(whole)) {
      text = read_file(whole);
      json = parse_json(text, whole.string());
      if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
        throw UserError(cat(whole.string(), ": expected an object with a \"model\""));
    } else if (!is_there(model)) {
      throw UserError(cat(folder.string(), ": no tokenizer: expected ", model.filename().string(), " or tokenizer.json in it"));
    }
    if (is_there(config_path)) config = read_json(config_path);
    if (!config.is_object()) throw UserError(cat(config_path.string(), ": expected an object, {...}"));
  }
  bool has_json() const { return !json.is_null(); }
  // A field of the config; `fallback` where it is not there, or null.
  template <class T>
  T field(const char* key, const T& fallback) const {
    const auto found = config.find(key);
    return found == config.end() || found->is_null() ? fallback : found->get<T>();
  }
};

std::vector<AddedToken> extra_ids(const Files& files) {
  const auto count = files.field("extra_ids", int64_t{100});
  if (count < 0 || count > kMostExtraIds)
    throw UserError(cat(files.config_path.string(), ": field \"extra_ids\": ", count, ": expected 0 to ", kMostExtraIds));
  std::vector<AddedToken> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back({.content = cat("<extra_id_", i, ">"), .special = true, .normalized = false});
  return tokens;
}

PiecePrefix prefix_of(const Files& files) {
  if (!files.field("add_prefix_space", true)) return PiecePrefix::never;
  return files.field("legacy", false) ? PiecePrefix::always : PiecePrefix::first;
}

// What tokenizer.json says of padding, and of cutting.
void read_lengths(const Files& files, TokenizerDefaults& defaults) {
  const Json padding = files.json.value("padding", Json()), truncation = files.json.value("truncation", Json());
  if (padding.is_object()) {
    defaults.pads_left = padding.value("direction", "Right") == "Left";
    if (defaults.pad_token.empty()) defaults.pad_token = padding.value("pad_token", "");
  }
  if (truncation.is_object() && truncation.value("direction", "Right") != "Right")
    throw UserError(cat(files.whole.string(), ": field \"truncation.direction\": expected \"Right\", which is all that is supported"));
}

// What the post-processor of tokenizer.json puts around a text.
void read_template(const Files& files, std::vector<int32_t>& before, std::vector<int32_t>& after) {
  const Json processor = files.json.value("post_processor", Json());
  if (!processor.is_null() && processor.value("type", "") != "TemplateProcessing")
    throw UserError(cat(files.whole.string(), ": field \"post_processor\": expected a TemplateProcessing, which is all that is supported, or null"));
  bool behind = false;
  for (const Json& step : processor.is_null() ? Json::array() : processor.at("single")) {
    if (step.contains("Sequence")) behind = true;
    if (!step.contains("SpecialToken")) continue;
    const auto ids = processor.at("special_tokens").at(step["SpecialToken"].at("id").get<std::string>()).at("ids").get<std::vector<int32_t>>();
    std::vector<int32_t>& side = behind ? after : before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  // Older releases of transformers let the config count.
  for (const auto& [key, does] : {std::pair{"add_bos_token", !before.empty()}, {"add_eos_token", !after.empty()}})
    if (files.field(key, does) != does)
      warn(files.config_path.string(), ": field \"", key, "\" is not heeded: the post-processor of tokenizer.json says ", does ? "true" : "false");
}

}  // namespace

SentencePieceTokenizer SentencePieceTokenizer::from_pretrained(const fs::path& folder, PieceKind kind) {
  const bool unigram = kind == PieceKind::unigram;
  const Files files(folder, unigram);
  const auto of_another_kind = [&](const fs::path& file, const std::string& what) {
    throw UserError(cat(file.string(), ": ", what, ": expected the ", unigram ? "unigram model of a T5Tokenizer" : "byte pairs of a LlamaTokenizer"));
  };
  try {
    TokenizerDefaults defaults{.bos_token = unigram ? "" : "<s>",
                               .eos_token = "</s>",
                               .unk_token = "<unk>",
                               .pad_token = unigram ? "<pad>" : "",
                               .needed = {"eos_token"},
                               .model_max_length = 512,
                               .pads_left = !unigram,
                               .listed = {},
                               .further_prefix = "<extra_id_",
                               .further = unigram ? extra_ids(files) : std::vector<AddedToken>()};
    std::shared_ptr<const PieceModel> model;
    int32_t vocab_size = 0;
    if (files.has_json()) {
      read_lengths(files, defaults);
      const std::string type = files.json["model"].value("type", unigram ? "Unigram" : "BPE"), name = files.whole.string();
      if (type != (unigram ? "Unigram" : "BPE")) of_another_kind(files.whole, cat("a model of type ", in_quotes(type)));
      if (unigram) {
        model = unigram_of_json(files.json, name);
      } else {
        BytePairFiles pairs;
        pairs.parse_tokenizer(files.text, name);
        if (pairs.vocabulary.find(kSpace) < 0) of_another_kind(files.whole, cat("no token ", in_quotes(kSpace)));
        model = piece_pairs_of_files(std::move(pairs), prefix_of(files));
      }
      vocab_size = model->size();
    } else {
      const std::string name = files.model.string();
      SentencePieceModel pieces = SentencePieceModel::parse(read_file(files.model), name);
      if (pieces.unigram != unigram) of_another_kind(files.model, unigram ? "a model of pairs" : "a unigram model");
      vocab_size = static_cast<int32_t>(pieces.pieces.size());
      defaults.listed.emplace();
      for (const SentencePiece& piece : pieces.pieces)
        if (piece.type == SentencePiece::Type::control || piece.type == SentencePiece::Type::user_defined)
          defaults.listed->push_back({.content = piece.text, .special = piece.type == SentencePiece::Type::control, .normalized = false});
      // T5's own follow behind the file's, the last one first.
      for (const AddedToken& token : std::views::reverse(defaults.further))
        if (std::ranges::find(pieces.pieces, token.content, &SentencePiece::text) == pieces.pieces.end()) pieces.pieces.push_back({token.content});
      model = unigram ? unigram_of_model(pieces, name) : piece_pairs_of_model(pieces, name, prefix_of(files));
    }

    const TokenizerConfig config = TokenizerConfig::read(folder, defaults);
    SentencePieceTokenizer tokenizer(model);
    tokenizer.vocab_size_ = vocab_size;
    tokenizer.pads_left_ = config.pads_left;
    tokenizer.model_max_length_ = static_cast<int>(config.model_max_length);
    const auto declared_end = config.added_tokens.begin() + static_cast<ptrdiff_t>(config.declared);
    if (model->find(config.eos_token) < 0 &&
        std::ranges::find(config.added_tokens.begin(), declared_end, config.eos_token, &AddedToken::content) == declared_end)
      throw UserError(cat((files.has_json() ? files.whole : files.model).string(), ": no token ", in_quotes(config.eos_token),
                          ": expected the eos_token in the vocabulary"));

    // A token that the vocabulary lacks gets the next id behind it, whatever id its declaration gives.
    std::map<std::string, int32_t, std::less<>> ids;
    const auto find = [&](const std::string& content) {
      const auto found = ids.find(content);
      return found == ids.end() ? model->find(content) : found->second;
    };
    int32_t next = model->size();
    for (auto token = config.added_tokens.begin(); token != config.added_tokens.end(); ++token) {
      int32_t id = find(token->content);
      if (id < 0) id = next;
      next = std::max(next, id + 1);
      ids[token->content] = id;
      const auto same = [&](const AddedToken& other) { return other.content == token->content; };
      if (std::none_of(token + 1, config.added_tokens.end(), same)) tokenizer.added_tokens_.add(*token, id);
    }
    if (!config.pad_token.empty()) tokenizer.pad_token_id_ = find(config.pad_token);

    // What comes around a text: T5's end always; else what tokenizer.json does, or what the config says.
    if (unigram) {
      tokenizer.after_ = {find(config.eos_token)};
    } else if (files.has_json()) {
      read_template(files, tokenizer.before_, tokenizer.after_);
    } else {
      if (files.field("add_bos_token", false) && !config.bos_token.empty()) tokenizer.before_ = {find(config.bos_token)};
      if (files.field("add_eos_token", false)) tokenizer.after_ = {find(config.eos_token)};
    }
    return tokenizer;
  } catch (const Json::exception& error) {
    throw UserError(cat((files.has_json() ? files.whole : files.config_path).string(), ": not as a tokenizer writes it: ", error.what()));
  }
}

std::vector<int32_t> SentencePieceTokenizer::tokenize_ids(std::string_view text) const {
  std::vector<int32_t> ids;
  const std::string valid = to_valid_utf8(text);
  bool first = true;
  for (const auto& [piece, id] : added_tokens_.split(valid, false)) {
    if (id >= 0) {
      ids.push_back(id);
      first = false;
      continue;
    }
    const std::string normalized = model_->normalize(piece);
    for (const auto& [part, inner] : added_tokens_.split(normalized, true)) {
      if (inner >= 0)
        ids.push_back(inner);
      else
        model_->encode(part, first, ids);
      first = false;
    }
  }
  return ids;
}

SentencePieceTokenizer::Encoding SentencePieceTokenizer::encode(std::string_view text, int length) const {
  const std::vector<int32_t> tokens = tokenize_ids(text);
  const size_t around = before_.size() + after_.size();
  const size_t kept = std::min(tokens.size(), static_cast<size_t>(std::max<int64_t>(0, length - static_cast<int64_t>(around))));
  Encoding encoding;
  encoding.ids = before_;
  encoding.ids.insert(encoding.ids.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept));
  encoding.ids.insert(encoding.ids.end(), after_.begin(), after_.end());
  encoding.length = static_cast<int>(encoding.ids.size());
  const int padding = std::max(0, length - encoding.length);
  encoding.begin = pads_left_ ? padding : 0;
  encoding.ids.insert(pads_left_ ? encoding.ids.begin() : encoding.ids.end(), static_cast<size_t>(padding), pad_token_id_);
  if (kept < tokens.size()) encoding.truncated = decode({tokens.begin() + static_cast<ptrdiff_t>(kept), tokens.end()});
  return encoding;
}

std::string SentencePieceTokenizer::token(int32_t id) const {
  if (const std::string* added = added_tokens_.text(id)) return *added;
  return id >= 0 && id < model_->size() ? model_->text(id) : std::string();
}

std::string SentencePieceTokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids) {
    const std::string piece = token(id);
    if (const auto byte = byte_of(piece)) {
      bytes += static_cast<char>(*byte);
      continue;
    }
    for (std::string_view rest = piece; !rest.empty();) {
      const bool space = rest.starts_with(kSpace);
      bytes += space ? ' ' : rest[0];
      rest.remove_prefix(space ? kSpace.size() : 1);
    }
  }
  if (bytes.starts_with(' ')) bytes.erase(0, 1);
  return to_valid_utf8(bytes);
}

}  // namespace vivace
