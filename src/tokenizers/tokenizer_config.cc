#include "tokenizers/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "tokenizers/byte_pair_files.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

// In the order in which transformers adds them.
constexpr std::array kSpecialTokens = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
// Nobody means a longer text than this; transformers writes 1e30 for "no limit".
constexpr double kMaxLength = 1 << 20;

// One of the JSON files, an empty object where it is missing.
struct File {
  std::string name;
  Json fields = Json::object();

  explicit File(const fs::path& path) : name(path.string()) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return;
    fields = read_json(path);
    if (!fields.is_object()) throw UserError(cat(name, ": expected an object, {...}"));
  }
  [[noreturn]] void wrong(std::string_view field, std::string_view expected) const {
    throw UserError(cat(name, ": field \"", field, "\": expected ", expected));
  }
};

bool flag(const File& file, const std::string& field, const Json& token, const char* key, bool fallback) {
  const auto found = token.find(key);
  if (found == token.end() || found->is_null()) return fallback;
  if (!found->is_boolean()) file.wrong(field + "." + key, "true or false");
  return found->get<bool>();
}

// {"content": "<|endoftext|>", "normalized": true, ...}. `special` overrides the token's own flag.
AddedToken token_of_object(const File& file, const std::string& field, const Json& value, std::optional<bool> special) {
  const auto content = value.find("content");
  if (content == value.end() || !content->is_string()) file.wrong(field + ".content", "the token's text, a string");
  AddedToken token{.content = content->get<std::string>(), .special = special ? *special : flag(file, field, value, "special", false)};
  token.normalized = flag(file, field, value, "normalized", !token.special);
  token.single_word = flag(file, field, value, "single_word", false);
  token.lstrip = flag(file, field, value, "lstrip", false);
  token.rstrip = flag(file, field, value, "rstrip", false);
  return token;
}

// A special token, which may be written as a string or as an object.
AddedToken special_token(const File& file, const std::string& field, const Json& value) {
  if (value.is_string()) return {.content = value.get<std::string>(), .special = true, .normalized = false};
  if (!value.is_object()) file.wrong(field, "a token: a string or an object with \"content\"");
  return token_of_object(file, field, value, true);
}

std::vector<AddedToken> special_token_list(const File& file, const std::string& field, const Json& value) {
  if (!value.is_array()) file.wrong(field, "a list of tokens");
  std::vector<AddedToken> tokens;
  for (const Json& entry : value) tokens.push_back(special_token(file, field, entry));
  return tokens;
}

// What the files say by name: bos_token and the others of kSpecialTokens, and the list of further special tokens.
struct NamedTokens {
  std::map<std::string, AddedToken, std::less<>> named;
  std::vector<AddedToken> further;

  void read(const File& file) {
    for (const char* key : kSpecialTokens) {
      const auto value = file.fields.find(key);
      if (value == file.fields.end()) continue;
      if (value->is_null())
        named.erase(key);
      else
        named[key] = special_token(file, key, *value);
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
      if (const auto value = file.fields.find(key); value != file.fields.end() && !value->is_null() && !value->empty())
        further = special_token_list(file, key, *value);
  }
  bool is_special(const std::string& content) const {
    const auto same = [&](const AddedToken& token) { return token.content == content; };
    return std::any_of(named.begin(), named.end(), [&](const auto& entry) { return same(entry.second); }) ||
           std::any_of(further.begin(), further.end(), same);
  }
};

std::map<int32_t, AddedToken> read_decoder(const File& config, const Json& decoder, const NamedTokens& names) {
  if (!decoder.is_object()) config.wrong("added_tokens_decoder", "an object with ids and tokens, {\"0\": {\"content\": ...}, ...}");
  std::map<int32_t, AddedToken> tokens;
  for (const auto& [key, value] : decoder.items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const std::string field = "added_tokens_decoder." + key;
    if (error != std::errc() || end != key.data() + key.size()) config.wrong(field, "an id, an integer, as the key");
    if (!value.is_object()) config.wrong(field, "an object with \"content\"");
    AddedToken token = token_of_object(config, field, value, std::nullopt);
    if (!token.special && names.is_special(token.content)) token = token_of_object(config, field, value, true);
    tokens[id] = std::move(token);
  }
  return tokens;
}

// The files of older checkpoints, which have no added_tokens_decoder.
std::map<int32_t, AddedToken> read_older_files(const fs::path& folder, const NamedTokens& names) {
  std::map<int32_t, AddedToken> tokens;
  const File added(folder / "added_tokens.json");
  for (const auto& [content, id] : added.fields.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(Vocabulary::kMaxId))
      added.wrong(content, cat("the token's id, an integer from 0 to ", Vocabulary::kMaxId));
    const bool special = names.is_special(content);
    tokens[id.get<int32_t>()] = {.content = content, .special = special, .normalized = !special};
  }
  std::error_code ignored;
  if (const fs::path path = folder / "tokenizer.json"; fs::exists(path, ignored))
    for (auto& [id, token] : TokenizerJson::parse(read_file(path), path.string()).added_tokens) tokens[id] = token;
  return tokens;
}

size_t read_max_length(const File& config) {
  for (const char* key : {"model_max_length", "max_len"}) {
    const auto value = config.fields.find(key);
    if (value == config.fields.end() || value->is_null()) continue;
    if (!value->is_number() || value->get<double>() < 2) config.wrong(key, "the length of a text in tokens, 2 (the special tokens) or more");
    const auto length = value->get<double>();
    return length > kMaxLength ? TokenizerConfig().model_max_length : static_cast<size_t>(length);
  }
  return TokenizerConfig().model_max_length;
}

void require(const File& config, const char* key, const Json& only) {
  const auto value = config.fields.find(key);
  if (value != config.fields.end() && !value->is_null() && *value != only)
    config.wrong(key, cat(json_text(only), ", which is all that is supported, not ", json_text(*value, -1, true).substr(0, 60)));
}

}  // namespace

TokenizerConfig TokenizerConfig::read(const fs::path& folder) {
  const File file(folder / "tokenizer_config.json");
  require(file, "padding_side", "right");
  require(file, "truncation_side", "right");
  require(file, "split_special_tokens", false);

  TokenizerConfig config;
  config.name = file.name;
  config.model_max_length = read_max_length(file);
  const std::array<std::pair<const char*, std::string*>, 4> needed = {
      {{"bos_token", &config.bos_token}, {"eos_token", &config.eos_token}, {"unk_token", &config.unk_token}, {"pad_token", &config.pad_token}}};
  NamedTokens names;
  for (const auto& [key, content] : needed) names.named[key] = {.content = *content, .special = true, .normalized = false};
  names.read(file);
  const auto decoder = file.fields.find("added_tokens_decoder");
  if (decoder == file.fields.end()) names.read(File(folder / "special_tokens_map.json"));
  for (const auto& [key, content] : needed) {
    const auto found = names.named.find(key);
    if (found == names.named.end() || found->second.content.empty()) file.wrong(key, "a token, not null and not empty");
    *content = found->second.content;
  }

  const auto declared = decoder != file.fields.end() ? read_decoder(file, *decoder, names) : read_older_files(folder, names);
  std::vector<AddedToken>& tokens = config.added_tokens;
  for (const auto& [id, token] : declared)
    if (!token.content.empty()) tokens.push_back(token);
  config.declared = tokens.size();
  // A declaration counts more than a name.
  const auto add = [&](const AddedToken& token) {
    const auto end = tokens.begin() + static_cast<ptrdiff_t>(config.declared);
    if (token.content.empty() || std::any_of(tokens.begin(), end, [&](const AddedToken& other) { return other.content == token.content; })) return;
    if (std::find(end, tokens.end(), token) == tokens.end()) tokens.push_back(token);
  };
  for (const char* key : kSpecialTokens)
    if (const auto found = names.named.find(key); found != names.named.end()) add(found->second);
  for (const AddedToken& token : names.further) add(token);
  return config;
}

}  // namespace vivace
