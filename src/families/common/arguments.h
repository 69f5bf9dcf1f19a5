// The arguments of a call: which a family takes, and checks that several share.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "families/family.h"

namespace vivace {

// All families take the sizes of a picture, numbers of steps and images, generators, latents, output_type and callbacks. Of everything else they list
// what they take; what is given beside that is a UsageError that names it and the class.
void check_taken(const CallOptions& options, std::string_view class_name, std::span<const std::string_view> taken);

// What the call was given and Diffusers' class takes without a use for it in this call: "strength changes nothing: denoising_start says where the
// call begins".
std::vector<std::string> unused_arguments(const Call& call);

// Height or width in pixels. `multiple`: of the VAE's scale.
void check_size(int64_t value, const char* name, int64_t multiple);

// How many prompts a call has. Throws UsageError where prompt and prompt_embeds are both given or neither, or embeddings do not fit: expected [N, T,
// width].
int64_t count_prompts(const Prompts& prompt, const CallOptions& options, int64_t width);

// A call with what all families resolve alike: prompts, images, size. `own` is the model's size, `scale` what sizes are multiples of.
Call resolve_common(const Prompts& prompt, const CallOptions& options, int64_t prompts, Size own, int64_t scale);

// Pooled embeddings `name` beside `embeds`, which is called `beside`: both or neither, a row of `width` each.
void check_pooled(const Tensor& pooled, const char* name, const Tensor& embeds, const char* beside, int64_t width);

}  // namespace vivace
