// FluxKontextPipeline: the model reads a picture's tokens behind the latents'.
#pragma once

#include "families/flux/flux.h"

namespace vivace {

class FluxKontextRecipe : public FluxRecipe {
 public:
  using FluxRecipe::FluxRecipe;
  CallOptions blank_call(Size size) const override;
  void set_size(CallOptions& call, Size size) const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  Conditioning encode(const Call& call, Request& request) const override;

 protected:
  std::vector<std::string_view> also_taken() const override;
  bool leaves_flow_sigmas() const override { return false; }
  Size wanted_size(const CallOptions& options) const override;
  int64_t condition_tokens(const Call& call) const override;

 private:
  // The size in which the picture is read.
  Size picture_size(const CallOptions& options) const;
};

Family flux_kontext_family();

}  // namespace vivace
