// Tokens with embeddings of their own.
#include <algorithm>

#include "base/joined.h"
#include "base/log.h"
#include "base/utf8.h"
#include "components/models.h"
#include "pipelines/adapter_names.h"
#include "pipelines/loaded.h"
#include "tokenizers/clip_tokenizer.h"
#include "vivace/error.h"
#include "weights/name_list.h"

namespace vivace {
namespace {

constexpr std::pair<const char*, const char*> kTextEncoders[] = {{"text_encoder", "tokenizer"}, {"text_encoder_2", "tokenizer_2"}};

const char* tokenizer_of(const std::string& part) {
  return std::ranges::find(kTextEncoders, part, [](const auto& pair) { return std::string(pair.first); })->second;
}

// The width of a CLIP text encoder with a tokenizer of CLIP's; 0 for other parts.
int64_t width_of(const Parts& parts, const std::string& part) {
  if (!parts.has(part) || !dynamic_cast<const CLIPTokenizer*>(parts.tokenizer(tokenizer_of(part)))) return 0;
  const auto* encoder = dynamic_cast<const CLIPTextComponent*>(&parts.model(part).component());
  return encoder ? encoder->config().hidden_size : 0;
}

}  // namespace

void Adapters::load_tokens(const std::filesystem::path& path, const std::string& token, Parts& parts) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "learned_embeds.safetensors" : path;
  if (file.extension() != ".safetensors")
    throw UserError(cat(file.string(), ": expected embeddings in a .safetensors file: other formats can hold programs; convert it first"));
  const auto origins = std::make_shared<const WeightOrigins>(WeightMap::open(file), CacheFolder());
  const WeightMap& weights = origins->weights();
  weights.check_finite();
  // What is for which part, as the names say; one tensor alone is for the text encoder that is as wide.
  std::vector<std::pair<std::string, const WeightInfo*>> found;
  for (const auto& [part, name] : {std::pair{"text_encoder", "clip_l"}, {"text_encoder_2", "clip_g"}})
    if (const WeightInfo* tensor = weights.find(name)) found.emplace_back(part, tensor);
  std::string own = file.stem().string();
  if (found.empty()) {
    const WeightInfo* tensor = weights.find("emb_params");
    if (!tensor && weights.size() == 1) tensor = &weights.weights()[0], own = tensor->name;
    if (!tensor) {
      NameList names;
      for (const WeightInfo& weight : weights.weights()) names.add(weight.name);
      const bool is_lora = std::ranges::any_of(weights.weights(), [](const WeightInfo& weight) { return is_of_adapter(weight.name); });
      throw UserError(cat(file.string(), is_lora ? ": it is an adapter, which --lora (load_lora_weights) loads: " : ": ",
                          "expected embeddings: one tensor, emb_params, or clip_l and clip_g; got ", names.text()));
    }
    std::string part = "text_encoder";
    if (!tensor->shape.empty() && width_of(parts, part) != tensor->shape.back() && width_of(parts, "text_encoder_2") == tensor->shape.back())
      part = "text_encoder_2";
    found.emplace_back(part, tensor);
  }
  const std::string name = token.empty() ? own : token;
  std::vector<StoredTensor> vectors;
  for (const auto& [part, tensor] : found) {
    const int64_t width = width_of(parts, part);
    if (width == 0)
      throw UserError(
          cat(file.string(), ": tensor \"", tensor->name, "\" is for a ", part, " of CLIP, which this ", parts.class_name, " does not have"));
    const Shape& shape = tensor->shape;
    if (!is_floating(tensor->dtype) || shape.empty() || shape.size() > 2 || shape.back() != width || numel(shape) == 0)
      throw UserError(cat(file.string(), ": tensor \"", tensor->name, "\" is ", dtype_name(tensor->dtype), to_string(shape),
                          ": expected embeddings [n, ", width, "] for the ", part, " of this model"));
    const auto& encoder = parts.component<CLIPTextComponent>(part);
    if (encoder.is_packaged()) throw UsageError("a package takes no adapters: load them with the checkpoint that it was made from");
    const auto& tokenizer = static_cast<const CLIPTokenizer&>(*parts.tokenizer(tokenizer_of(part)));
    if (tokenizer.size() > encoder.config().vocab_size)
      throw UserError(cat(parts.folder(tokenizer_of(part)), " has ", tokenizer.size(), " tokens, the ", part, " ", encoder.config().vocab_size,
                          " embeddings: expected as many at least, before further ones are added"));
    (void)tokenizer.with_token(name, static_cast<int>(numel(shape) / width));
    StoredTensor own_vectors = stored(origins, *tensor);
    own_vectors.info.shape = {numel(shape) / width, width};
    own_vectors.replaceable = true;
    vectors.push_back(std::move(own_vectors));
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const std::string& part = found[i].first;
    TextEncoder& encoder = text_encoders_[part];
    if (!encoder.tokenizer) {
      encoder.tokenizer = parts.tokenizers.find(tokenizer_of(part))->second;
      encoder.vocab_size = parts.component<CLIPTextComponent>(part).config().vocab_size;
    }
    encoder.tokens.push_back({name, vectors[i]});
  }
  put_tokens(parts);
}

void Adapters::remove_tokens(const std::vector<std::string>& tokens, Parts& parts) {
  for (const std::string& token : tokens)
    if (std::ranges::none_of(text_encoders_, [&](const auto& entry) { return std::ranges::count(entry.second.tokens, token, &Token::name) > 0; }))
      throw UsageError(cat("unload_textual_inversion: the token ", in_quotes(token), " was not loaded"));
  for (auto& [part, encoder] : text_encoders_)
    std::erase_if(encoder.tokens, [&](const Token& token) { return tokens.empty() || std::ranges::count(tokens, token.name) > 0; });
  put_tokens(parts);
}

void Adapters::put_tokens(Parts& parts) {
  for (auto& [part, encoder] : text_encoders_) {
    auto tokenizer = static_cast<const CLIPTokenizer&>(*encoder.tokenizer);
    for (const Token& token : encoder.tokens) tokenizer = tokenizer.with_token(token.name, static_cast<int>(token.vectors.info.shape[0]));
    parts.component<CLIPTextComponent>(part).set_vocab_size(encoder.tokens.empty() ? encoder.vocab_size : tokenizer.size());
    parts.tokenizers[tokenizer_of(part)] = std::make_shared<const CLIPTokenizer>(std::move(tokenizer));
  }
  apply(parts);
}

void DiffusionPipeline::load_textual_inversion(const std::filesystem::path& path, const std::string& token) {
  loaded_->adapters.load_tokens(path, token, loaded_->parts);
}
void DiffusionPipeline::unload_textual_inversion(const std::vector<std::string>& tokens) { loaded_->adapters.remove_tokens(tokens, loaded_->parts); }

}  // namespace vivace
