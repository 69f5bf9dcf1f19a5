#include "tokenizers/sentencepiece_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/piece_pairs.h"
#include "tokenizers/sentencepiece_model.h"
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

// A token of tokenizer_config.json: a string or an object with its content.
std::string token_field(const Json& config, const char* key, const std::string& fallback) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return fallback;
  if (found->is_string()) return *found;
  return found->is_object() ? found->value("content", fallback) : fallback;
}

AddedToken added_token(const Json& entry) {
  AddedToken token{.content = entry.value("content", ""), .special = entry.value("special", false)};
  token.normalized = entry.value("normalized", !token.special);
  token.single_word = entry.value("single_word", false);
  token.lstrip = entry.value("lstrip", false);
  token.rstrip = entry.value("rstrip", false);
  return token;
}

// All of `digits`; nothing where it is no number without a sign, or too large.
template <class T>
std::optional<T> number_of(std::string_view digits, int base) {
  T number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  return error == std::errc() && end == digits.data() + digits.size() && !digits.starts_with('-') ? std::optional(number) : std::nullopt;
}

// The byte that a piece like "<0x0A>" stands for.
std::optional<uint8_t> byte_of(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>') ? number_of<uint8_t>(piece.substr(3, 2), 16) : std::nullopt;
}

// What a TemplateProcessing of tokenizer.json puts around a text.
struct Template {
  bool found = false;
  std::string before, after;
};

Template template_of(const Json& tokenizer) {
  Template result;
  const auto found = tokenizer.find("post_processor");
  if (found == tokenizer.end() || !found->is_object() || found->value("type", "") != "TemplateProcessing") return result;
  result.found = true;
  bool behind = false;
  for (const Json& step : found->value("single", Json::array())) {
    if (step.contains("Sequence")) behind = true;
    if (step.contains("SpecialToken")) (behind ? result.after : result.before) = step["SpecialToken"].value("id", "");
  }
  return result;
}

}  // namespace

SentencePieceTokenizer SentencePieceTokenizer::from_pretrained(const fs::path& folder, PieceKind kind) {
  const bool unigram = kind == PieceKind::unigram;
  const fs::path pieces = folder / (unigram ? "spiece.model" : "tokenizer.model"), whole = folder / "tokenizer.json",
                 config_path = folder / "tokenizer_config.json";
  const bool has_pieces = is_there(pieces), has_json = is_there(whole);
  if (!has_pieces && !has_json)
    throw UserError(cat(folder.string(), ": no tokenizer: expected ", pieces.filename().string(), " or tokenizer.json in it"));
  const Json config = is_there(config_path) ? read_json(config_path) : Json::object();
  const std::string text = has_json ? read_file(whole) : "";
  const Json json = has_json ? parse_json(text, whole.string()) : Json::object();
  if (!config.is_object()) throw UserError(cat(config_path.string(), ": expected an object, {...}"));
  if (has_json && (!json.is_object() || !json.contains("model") || !json["model"].is_object()))
    throw UserError(cat(whole.string(), ": expected an object with a \"model\""));
  const auto of_another_kind = [&](const fs::path& file, const std::string& what) {
    throw UserError(cat(file.string(), ": ", what, ": expected the ", unigram ? "unigram model of a T5Tokenizer" : "byte pairs of a LlamaTokenizer"));
  };
  if (const char* type = unigram ? "Unigram" : "BPE"; has_json && token_field(json["model"], "type", "BPE") != type)
    of_another_kind(whole, cat("a model of type ", in_quotes(token_field(json["model"], "type", "BPE"))));

  try {
    SentencePieceTokenizer tokenizer;
    if (unigram) {
      const std::string model = has_pieces ? read_file(pieces) : "";
      if (!is_unigram(model)) of_another_kind(pieces, "a model of pairs");
      tokenizer.model_ = has_pieces ? unigram_of_file(model, pieces.string()) : unigram_of_json(json, whole.string());
    } else if (has_json) {
      BytePairFiles files = TokenizerJson::parse(text, whole.string()).files;
      if (files.vocabulary.find(kSpace) < 0) of_another_kind(whole, cat("no token ", in_quotes(kSpace)));
      const int32_t unknown = files.vocabulary.find(token_field(json["model"], "unk_token", "<unk>"));
      tokenizer.model_ = piece_pairs_of_files(std::move(files), unknown);
    } else {
      const std::string model = read_file(pieces);
      if (is_unigram(model)) of_another_kind(pieces, "a unigram model");
      tokenizer.model_ = piece_pairs_of_model(model, pieces.string());
    }
    const PieceModel& model = *tokenizer.model_;

    // Added tokens: those that are declared, and the special ones that have a name.
    std::map<int32_t, AddedToken> added;
    if (has_json) {
      for (const Json& entry : json.value("added_tokens", Json::array())) added[entry.at("id").get<int32_t>()] = added_token(entry);
    } else if (const auto decoder = config.find("added_tokens_decoder"); decoder != config.end() && decoder->is_object()) {
      for (const auto& [key, entry] : decoder->items()) {
        const auto id = number_of<int32_t>(key, 10);
        if (!id)
          throw UserError(cat(config_path.string(), ": field \"added_tokens_decoder\": ", in_quotes(key), ": expected a token's id as the key"));
        added[*id] = added_token(entry);
      }
    } else if (!unigram) {
      int32_t next = model.size();
      for (const char* key : {"extra_special_tokens", "additional_special_tokens"})
        for (const Json& entry : config.value(key, Json::array()))
          if (const std::string content = entry.is_string() ? entry.get<std::string>() : entry.value("content", "");
              !content.empty() && model.find(content) < 0)
            added[next++] = {.content = content, .special = true, .normalized = false};
    } else {
      const auto extra = config.value("extra_ids", int64_t{100});
      if (extra < 0 || extra > kMostExtraIds)
        throw UserError(cat(config_path.string(), ": field \"extra_ids\": ", extra, ": expected 0 to ", kMostExtraIds));
      for (int32_t k = 0; k < extra; ++k)
        added[model.size() + static_cast<int32_t>(extra) - 1 - k] = {.content = cat("<extra_id_", k, ">"), .special = true, .normalized = false};
    }
    const auto find = [&](const std::string& content) {
      const auto same = std::ranges::find(added, content, [](const auto& entry) { return entry.second.content; });
      return same != added.end() ? same->first : model.find(content);
    };
    const auto named = [&](const char* key, const std::string& fallback, bool needed) {
      const std::string content = token_field(config, key, fallback);
      const int32_t id = content.empty() ? -1 : find(content);
      if (id < 0 && needed) throw UserError(cat(folder.string(), ": no token ", in_quotes(content), ": expected the ", key, " in the vocabulary"));
      if (id >= 0 && !added.contains(id)) added[id] = {.content = content, .special = true, .normalized = false};
      return id;
    };
    const int32_t eos = named("eos_token", "</s>", true), bos = named("bos_token", unigram ? "" : "<s>", false);
    named("unk_token", "<unk>", false);
    const int32_t pad = named("pad_token", unigram ? "<pad>" : "", false);
    tokenizer.pad_token_id_ = pad < 0 ? 0 : pad;
    for (const auto& [id, token] : added)
      if (!token.content.empty()) tokenizer.added_tokens_.add(token, id);

    // What comes around a text: T5's end always; else what the config says, what tokenizer.json does, or Llama's way.
    if (unigram) {
      tokenizer.eos_token_id_ = eos;
    } else if (const Template around = template_of(json); around.found && !config.contains("add_bos_token") && !config.contains("add_eos_token")) {
      if (!around.before.empty()) tokenizer.bos_token_id_ = find(around.before);
      if (!around.after.empty()) tokenizer.eos_token_id_ = find(around.after);
    } else {
      if (config.value("add_bos_token", true)) tokenizer.bos_token_id_ = bos;
      if (config.value("add_eos_token", false)) tokenizer.eos_token_id_ = eos;
    }
    if (config.value("padding_side", "right") != "right") throw UserError(cat(config_path.string(), ": field \"padding_side\": expected \"right\""));
    // transformers writes 1e30 for "no limit".
    if (const double most = config.value("model_max_length", 512.); most >= 2 && most < 1 << 20) tokenizer.model_max_length_ = static_cast<int>(most);
    return tokenizer;
  } catch (const Json::exception& error) {
    throw UserError(cat((has_json ? whole : config_path).string(), ": not as a tokenizer writes it: ", error.what()));
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
    for (const auto& [part, inner] : added_tokens_.split(piece, true)) {
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
  const size_t around = static_cast<size_t>(bos_token_id_ >= 0) + static_cast<size_t>(eos_token_id_ >= 0);
  const size_t kept = std::min(tokens.size(), static_cast<size_t>(std::max<int64_t>(0, length - static_cast<int64_t>(around))));
  Encoding encoding;
  if (bos_token_id_ >= 0) encoding.ids.push_back(bos_token_id_);
  encoding.ids.insert(encoding.ids.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept));
  if (eos_token_id_ >= 0) encoding.ids.push_back(eos_token_id_);
  encoding.length = static_cast<int>(encoding.ids.size());
  encoding.ids.resize(static_cast<size_t>(std::max(length, encoding.length)), pad_token_id_);
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
    std::string piece = token(id);
    if (const auto byte = byte_of(piece)) piece = static_cast<char>(*byte);
    for (size_t at = piece.find(kSpace); at != piece.npos; at = piece.find(kSpace, at + 1)) piece.replace(at, kSpace.size(), " ");
    bytes += piece;
  }
  if (bytes.starts_with(' ')) bytes.erase(0, 1);
  return to_valid_utf8(bytes);
}

}  // namespace vivace
