// StableDiffusionXLPipeline, and what the classes share that begin with a picture.
#pragma once

#include <initializer_list>

#include "families/common/unet_recipe.h"

namespace vivace {

class StableDiffusionXLRecipe : public UNetRecipe {
 public:
  StableDiffusionXLRecipe(const Parts& parts, const Config& index, UNetClass unet_class);

  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  Conditioning encode(const Call& call, Request& request) const override;

 protected:
  std::vector<SessionNeed> text_sessions(const Call& call) const override;
  int64_t tokens(const Call& call) const override;
  // Not those of the one class, in Diffusers, that inpaints with ControlNets.
  bool own_statistics() const override { return !inpaints_controlled(); }

 private:
  struct Encoded {
    Tensor embeds, pooled;
  };
  Encoded encode_texts(const Call& call, const Prompts& first, const Prompts& second, int skip, Request& request) const;
  Encoded encode_positive(const Call& call, Request& request) const;
  Encoded encode_negative(const Call& call, const Encoded& positive, Request& request) const;
  // Whether the negative prompt goes through the text encoders: not where it is given, or zero.
  bool encodes_negative(const Call& call) const;
  void tell_unused(const Call& call) const;
  bool inpaints_controlled() const { return class_.controlled && class_.task == Task::inpainting; }
  // Sizes, or with a refiner the aesthetic score.
  void add_time_ids(const Call& call, Conditioning& conditioning) const;

  bool force_zeros_for_empty_prompt_, scores_;
};

Family stable_diffusion_xl_family();

// For the other classes of the same parts.
std::vector<PartSpec> stable_diffusion_xl_parts();
// What all of them take, and `more`.
std::vector<std::string_view> stable_diffusion_xl_arguments(std::initializer_list<std::string_view> more);

}  // namespace vivace
