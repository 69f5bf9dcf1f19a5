// Prompts through text encoders: what the families share.
#pragma once

#include "components/models.h"
#include "families/family.h"

namespace vivace {

// A second prompt or a negative one: as many as prompts, or one for all of them. With `empty_is_none` an empty text is none, as a second prompt is in
// Diffusers.
Prompts matching(const std::optional<Prompts>& given, const Prompts& fallback, int64_t count, const char* name, bool empty_is_none = false);

// Token ids [N, length] by the part `tokenizer`, which must be there; each prompt that is cut is a warning that names the text encoder it was cut
// for. `attention_mask`, where it is wanted: float32 [N, length], 1 before the padding.
Tensor tokenize(const Parts& parts, std::string_view tokenizer, const Prompts& prompts, int64_t length, Tensor* attention_mask = nullptr);

// The tokens of a prompt: what the tokenizer pads to; where there is none (a folder of configs), what the text encoder takes.
int64_t prompt_tokens(const Parts& parts, std::string_view tokenizer, std::string_view text_encoder);

// [N, T, A] and [N, T, B] -> [N, T, A + B]. Throws UsageError where N or T differ.
Tensor join_features(const Tensor& a, const Tensor& b);
// Each row `times` times in a row: prompts -> images.
Tensor repeat_rows(const Tensor& t, int64_t times);

// Whether the tokenizer's prompts fit the text encoder, CLIP's or T5's. Throws UserError with both folders.
void check_tokenizer(const Parts& parts, std::string_view tokenizer, std::string_view text_encoder);

}  // namespace vivace
