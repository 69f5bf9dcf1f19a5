#include "families/common/clip_prompt.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "components/transformer_models.h"
#include "tokenizers/clip_tokenizer.h"
#include "vivace/error.h"

namespace vivace {

Prompts matching(const std::optional<Prompts>& given, const Prompts& fallback, int64_t count, const char* name, bool empty_is_none) {
  Prompts result = given && !given->empty() ? *given : fallback;
  if (empty_is_none && result.size() == 1 && result[0].empty()) result = fallback;
  if (result.size() == 1 && count > 1) result.resize(static_cast<size_t>(count), result[0]);
  if (static_cast<int64_t>(result.size()) != count)
    throw UsageError(cat(name, " has ", result.size(), " entries and there are ", count, " prompts: give one, or one for each prompt"));
  return result;
}

namespace {
// "text_encoder_2 (T5EncoderModel)", which the tokenizer of that number is for.
std::string text_encoder_of(const Parts& parts, std::string_view tokenizer) {
  const std::string name = cat("text_encoder", tokenizer.substr(std::string_view("tokenizer").size()));
  const auto class_name = parts.classes.find(name);
  return class_name == parts.classes.end() ? name : cat(name, " (", class_name->second, ')');
}
}  // namespace

Tensor tokenize(const Parts& parts, std::string_view tokenizer, const Prompts& prompts, int64_t length, Tensor* attention_mask) {
  Tensor ids({static_cast<int64_t>(prompts.size()), length}, DType::int32);
  if (attention_mask) *attention_mask = Tensor::zeros(ids.shape());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Tokenizer::Encoding encoding = parts.tokenizer(tokenizer)->encode(prompts[i], static_cast<int>(length));
    if (!encoding.truncated.empty())
      warn("the prompt is longer than the ", length, " tokens for ", text_encoder_of(parts, tokenizer), "; this was cut: \"", encoding.truncated,
           '"');
    std::copy_n(encoding.ids.begin(), length, ids.as<int32_t>() + static_cast<int64_t>(i) * length);
    if (attention_mask) std::fill_n(attention_mask->as<float>() + static_cast<int64_t>(i) * length + encoding.begin, encoding.length, 1.f);
  }
  return ids;
}

int64_t prompt_tokens(const Parts& parts, std::string_view tokenizer, std::string_view text_encoder) {
  if (const Tokenizer* own = parts.tokenizer(tokenizer)) return own->model_max_length();
  return parts.component<CLIPTextComponent>(text_encoder).config().max_position_embeddings;
}

Tensor join_features(const Tensor& a, const Tensor& b) {
  if (!a.defined()) return b;
  if (a.dim(0) != b.dim(0) || a.dim(1) != b.dim(1))
    throw UsageError(
        cat("the text encoders give ", to_string(a.shape()), " and ", to_string(b.shape()), ": expected as many prompts and tokens from both"));
  const int64_t rows = a.dim(0) * a.dim(1), wa = a.dim(2), wb = b.dim(2);
  Tensor out({a.dim(0), a.dim(1), wa + wb}, DType::float32);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(a.as<float>() + r * wa, wa, out.as<float>() + r * (wa + wb));
    std::copy_n(b.as<float>() + r * wb, wb, out.as<float>() + r * (wa + wb) + wa);
  }
  return out;
}

Tensor repeat_rows(const Tensor& t, int64_t times) {
  if (times == 1 || !t.defined()) return t;
  Shape shape = t.shape();
  shape[0] *= times;
  Tensor out(shape, t.dtype());
  const size_t row = t.bytes() / static_cast<size_t>(t.dim(0));
  for (int64_t i = 0; i < shape[0]; ++i)
    std::memcpy(static_cast<char*>(out.data()) + static_cast<size_t>(i) * row,
                static_cast<const char*>(t.data()) + static_cast<size_t>(i / times) * row, row);
  return out;
}

void check_tokenizer(const Parts& parts, std::string_view name, std::string_view text_encoder) {
  const Tokenizer* tokenizer = parts.tokenizer(name);
  if (!tokenizer || !parts.has(text_encoder)) return;
  const auto fail = [&](const auto&... args) {
    throw UserError(cat(parts.folder(name), args..., ": expected the tokenizer and the text encoder of one model"));
  };
  const auto check_size = [&](int64_t rows) {
    if (tokenizer->vocab_size() > rows) fail(" has ", tokenizer->vocab_size(), " tokens, ", parts.folder(text_encoder), " a vocab_size of ", rows);
  };
  // `stated`: in the encoder's config, as `field`.
  const auto check_id = [&](const char* token, int64_t id, const char* field, std::optional<int64_t> stated) {
    if (stated && id != *stated) fail(" has the ", token, " token ", id, ", ", parts.folder(text_encoder), " expects ", *stated, " (", field, ")");
  };
  if (const auto* clip = dynamic_cast<const CLIPTokenizer*>(tokenizer)) {
    const CLIPTextConfig& config = parts.component<CLIPTextComponent>(text_encoder).config();
    if (clip->model_max_length() > config.max_position_embeddings)
      throw UserError(cat(parts.folder(name), " makes prompts of ", clip->model_max_length(), " tokens (model_max_length), ",
                          parts.folder(text_encoder), " takes up to ", config.max_position_embeddings, " (max_position_embeddings)"));
    check_size(config.vocab_size);
    for (const auto& [token, id] : {std::pair{"bos", clip->bos_token_id()}, {"eos", clip->eos_token_id()}, {"padding", clip->pad_token_id()}})
      if (id >= config.vocab_size) fail(" has the ", token, " token ", id, ", ", parts.folder(text_encoder), " a vocab_size of ", config.vocab_size);
    // The model pools a prompt where it finds this token. 2 stands in older configs: it pools the greatest id.
    if (config.eos_token_id != 2) check_id("eos", clip->eos_token_id(), "eos_token_id", config.eos_token_id);
  } else {
    const T5EncoderConfig& config = parts.component<T5EncoderComponent>(text_encoder).config();
    check_size(config.vocab_size);
    if (config.bias_in_every_block) return;  // UMT5 comes with tokenizers of several kinds: what its config says of their ids is not relied on
    check_id("eos", tokenizer->eos_token_id(), "eos_token_id", config.eos_token_id);
    check_id("padding", tokenizer->pad_token_id(), "pad_token_id", config.pad_token_id);
  }
}

}  // namespace vivace
