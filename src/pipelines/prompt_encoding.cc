#include "pipelines/prompt_encoding.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A second prompt or a negative one: as many as prompts, or one for all of them. A second one that is an empty text is none in Diffusers.
Prompts matching(const std::optional<Prompts>& given, const Prompts& fallback, size_t count, const char* name, bool empty_is_none = false) {
  Prompts result = given && !given->empty() ? *given : fallback;
  if (empty_is_none && result.size() == 1 && result[0].empty()) result = fallback;
  if (result.size() == 1 && count > 1) result.resize(count, result[0]);
  if (result.size() != count) throw UsageError(cat(name, " has ", result.size(), " entries and prompt has ", count, ": give one, or one for each prompt"));
  return result;
}

// [N, T, A] and [N, T, B] -> [N, T, A + B].
Tensor join_features(const Tensor& a, const Tensor& b) {
  if (!a.defined()) return b;
  if (a.dim(0) != b.dim(0) || a.dim(1) != b.dim(1))
    throw UsageError(cat("the text encoders give ", to_string(a.shape()), " and ", to_string(b.shape()), ": expected as many prompts and tokens from both"));
  const int64_t rows = a.dim(0) * a.dim(1), wa = a.dim(2), wb = b.dim(2);
  Tensor out({a.dim(0), a.dim(1), wa + wb}, DType::float32);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(a.as<float>() + r * wa, wa, out.as<float>() + r * (wa + wb));
    std::copy_n(b.as<float>() + r * wb, wb, out.as<float>() + r * (wa + wb) + wa);
  }
  return out;
}

// Each row `times` times in a row.
Tensor repeat_rows(const Tensor& t, int times) {
  if (times == 1 || !t.defined()) return t;
  Shape shape = t.shape();
  shape[0] *= times;
  Tensor out(shape, t.dtype());
  const size_t row = t.bytes() / static_cast<size_t>(t.dim(0));
  for (int64_t i = 0; i < shape[0]; ++i)
    std::memcpy(static_cast<char*>(out.data()) + static_cast<size_t>(i) * row, static_cast<const char*>(t.data()) + static_cast<size_t>(i / times) * row, row);
  return out;
}

Tensor zeros_like(const Tensor& t) { return t.defined() ? Tensor::zeros(t.shape()) : Tensor(); }

struct Encoded {
  Tensor embeds, pooled;
};

// SDXL: the penultimate hidden states of both encoders side by side, and the pooled output of the first that projects. With one encoder alone, as in
// the refiner, that one gets the first prompt.
Encoded encode_xl(const DiffusionPipeline::Parts& parts, const Prompts& first, const Prompts& second, int skip, Request& request) {
  Encoded result;
  if (parts.text_encoder) {
    const CLIPTextModelOutput out = parts.text_component(1).encode(tokenize(*parts.tokenizer, first), skip, request);
    result = {out.hidden_state, out.text_embeds};
  }
  const CLIPTextModelOutput out = parts.text_component(2).encode(tokenize(*parts.tokenizer_2, parts.text_encoder ? second : first), skip, request);
  result.embeds = join_features(result.embeds, out.hidden_state);
  if (!result.pooled.defined()) result.pooled = out.text_embeds.defined() ? out.text_embeds : out.pooler_output;
  return result;
}

Encoded encode_sd(const DiffusionPipeline::Parts& parts, const Prompts& prompts, int skip, Request& request) {
  return {parts.text_component(1).encode(tokenize(*parts.tokenizer, prompts), skip, request).hidden_state_normed, {}};
}

}  // namespace

Tensor tokenize(const CLIPTokenizer& tokenizer, const Prompts& prompts) {
  const int64_t length = tokenizer.model_max_length();
  Tensor ids({static_cast<int64_t>(prompts.size()), length}, DType::int32);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const CLIPTokenizer::Encoding encoding = tokenizer.encode(prompts[i]);
    if (!encoding.truncated.empty()) warn("the prompt is longer than ", length, " tokens; this was cut: \"", encoding.truncated, '"');
    std::copy_n(encoding.ids.begin(), length, ids.as<int32_t>() + static_cast<int64_t>(i) * length);
  }
  return ids;
}

PromptEmbeddings encode_prompt(const DiffusionPipeline::Parts& parts, const Prompts& prompt, const CallOptions& options, bool guidance, Request& request) {
  if (prompt.empty()) throw UsageError("prompt is empty: give at least one text (\"\" is one)");
  const size_t count = prompt.size();
  if (options.clip_skip && *options.clip_skip < 0) throw UsageError(cat("clip_skip is ", *options.clip_skip, ": expected 0 or more"));
  const std::optional<Prompts> second = options.prompt_2.empty() ? std::nullopt : std::optional(options.prompt_2);
  Encoded positive, negative;
  if (parts.is_xl) {
    positive = encode_xl(parts, prompt, matching(second, prompt, count, "prompt_2", true), 1 + options.clip_skip.value_or(0), request);
    if (guidance && !options.negative_prompt && parts.force_zeros_for_empty_prompt) {
      negative = {zeros_like(positive.embeds), zeros_like(positive.pooled)};
    } else if (guidance) {
      const Prompts first = matching(options.negative_prompt, "", count, "negative_prompt");
      // As in Diffusers, clip_skip does not reach the negative prompt.
      negative = encode_xl(parts, first, matching(options.negative_prompt_2, first, count, "negative_prompt_2", true), 1, request);
    }
  } else {
    positive = encode_sd(parts, prompt, options.clip_skip.value_or(0), request);
    if (guidance) negative = encode_sd(parts, matching(options.negative_prompt, "", count, "negative_prompt"), 0, request);
  }
  const int n = options.num_images_per_prompt;
  return {repeat_rows(positive.embeds, n), repeat_rows(negative.embeds, n), repeat_rows(positive.pooled, n), repeat_rows(negative.pooled, n)};
}

Tensor DiffusionPipeline::tokenize(const Prompts& prompt, int tokenizer) const {
  const auto& chosen = tokenizer == 2 ? parts_->tokenizer_2 : parts_->tokenizer;
  if (!chosen) throw UsageError(cat("this checkpoint has no tokenizer ", tokenizer));
  return vivace::tokenize(*chosen, prompt);
}

}  // namespace vivace
