#include "tokenizers/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

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

// What the files say by name: bos_token and the others of kSpecialTokens, and the lists of further special tokens.
struct NamedTokens {
  using List = std::optional<std::vector<AddedToken>>;
  std::map<std::string, AddedToken, std::less<>> named;
  List extra, additional;  // extra_special_tokens, and additional_special_tokens as they were called before, which count where there are no others

  void read(const File& file) {
    for (const char* key : kSpecialTokens) {
      const auto value = file.fields.find(key);
      if (value == file.fields.end()) continue;
      if (value->is_null())
        named.erase(key);
      else
        named[key] = special_token(file, key, *value);
    }
    const auto list = [&](const char* key) -> List {
      const auto value = file.fields.find(key);
      if (value == file.fields.end()) return std::nullopt;
      return value->is_null() ? std::vector<AddedToken>() : special_token_list(file, key, *value);
    };
    if (List found = list("additional_special_tokens")) additional = std::move(found);
    if (List found = list("extra_special_tokens")) {
      if (!extra) extra.emplace();
      for (const AddedToken& token : *found)
        if (std::find(extra->begin(), extra->end(), token) == extra->end()) extra->push_back(token);
    }
  }
  std::vector<AddedToken> further() const { return extra ? *extra : additional.value_or(std::vector<AddedToken>()); }
  // Not for what additional_special_tokens says of them, as in transformers.
  bool is_special(const std::string& content) const {
    const auto same = [&](const AddedToken& token) { return token.content == content; };
    return std::any_of(named.begin(), named.end(), [&](const auto& entry) { return same(entry.second); }) ||
           (extra && std::any_of(extra->begin(), extra->end(), same));
  }
};

std::map<int32_t, AddedToken> read_decoder(const File& config, const Json& decoder, const NamedTokens& names) {
  if (!decoder.is_object()) config.wrong("added_tokens_decoder", "an object with ids and tokens, {\"0\": {\"content\": ...}, ...}");
  std::map<int32_t, AddedToken> tokens;
  for (const auto& [key, value] : decoder.items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const std::string field = "added_tokens_decoder." + key;
    if (error != std::errc() || end != key.data() + key.size() || id < 0) config.wrong(field, "a token's id, an integer, as the key");
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
    for (auto& [id, token] : read_added_tokens(read_file(path), path.string())) tokens[id] = token;
  return tokens;
}

size_t read_max_length(const File& config, size_t most) {
  for (const char* key : {"model_max_length", "max_len"}) {
    const auto value = config.fields.find(key);
    if (value == config.fields.end() || value->is_null()) continue;
    if (!value->is_number() || value->get<double>() < 2) config.wrong(key, "the length of a text in tokens, 2 (the special tokens) or more");
    const auto length = value->get<double>();
    return length > kMaxLength ? most : static_cast<size_t>(length);
  }
  return most;
}

bool read_pads_left(const File& config, bool fallback) {
  const auto side = config.fields.find("padding_side");
  if (side == config.fields.end() || side->is_null()) return fallback;
  if (*side != "left" && *side != "right") config.wrong("padding_side", "\"left\" or \"right\"");
  return *side == "left";
}

void require(const File& config, const char* key, const Json& only) {
  const auto value = config.fields.find(key);
  if (value != config.fields.end() && !value->is_null() && *value != only)
    config.wrong(key, cat(json_text(only), ", which is all that is supported, not ", json_text(*value, -1, true).substr(0, 60)));
}

}  // namespace

TokenizerConfig TokenizerConfig::read(const fs::path& folder, const TokenizerDefaults& defaults) {
  const File file(folder / "tokenizer_config.json");
  require(file, "truncation_side", "right");
  require(file, "split_special_tokens", false);

  TokenizerConfig config;
  config.name = file.name;
  config.model_max_length = read_max_length(file, defaults.model_max_length);
  config.pads_left = read_pads_left(file, defaults.pads_left);
  struct Named {
    const char* key;
    const std::string& fallback;
    std::string& content;
  };
  const std::array<Named, 4> own = {{{"bos_token", defaults.bos_token, config.bos_token},
                                     {"eos_token", defaults.eos_token, config.eos_token},
                                     {"unk_token", defaults.unk_token, config.unk_token},
                                     {"pad_token", defaults.pad_token, config.pad_token}}};
  NamedTokens names;
  for (const Named& token : own)
    if (!token.fallback.empty()) names.named[token.key] = {.content = token.fallback, .special = true, .normalized = false};
  names.read(file);
  if (names.additional && (!names.extra || names.extra->empty())) names.extra = std::exchange(names.additional, std::nullopt);
  const auto decoder = file.fields.find("added_tokens_decoder");
  if (decoder == file.fields.end()) names.read(File(folder / "special_tokens_map.json"));
  if (defaults.listed) names.additional = defaults.listed;
  if (!defaults.further.empty()) {
    if (!names.additional) names.additional.emplace();
    const auto called_so = [&](const AddedToken& token) { return token.content.find(defaults.further_prefix) != std::string::npos; };
    if (std::none_of(names.additional->begin(), names.additional->end(), called_so))
      names.additional->insert(names.additional->end(), defaults.further.begin(), defaults.further.end());
  }
  for (const Named& token : own) {
    const auto found = names.named.find(token.key);
    if (found != names.named.end()) token.content = found->second.content;
    if (token.content.empty() && std::find(defaults.needed.begin(), defaults.needed.end(), token.key) != defaults.needed.end())
      file.wrong(token.key, "a token, not null and not empty");
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
  for (const AddedToken& token : names.further()) add(token);
  return config;
}

}  // namespace vivace
