// CogVideoXVideoToVideoPipeline: the schedule begins later, with a video.
#pragma once

#include "families/cogvideox/cogvideox.h"

namespace vivace {

class CogVideoXVideoToVideoRecipe : public CogVideoXRecipe {
 public:
  using CogVideoXRecipe::CogVideoXRecipe;
  CallOptions blank_call(Size size) const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  StepRange steps(const Call& call, const Scheduler& scheduler) const override;
  Start start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
              Request& request) const override;

 protected:
  std::vector<std::string_view> also_taken() const override { return {"video", "strength"}; }
  int guided_steps(const Call& call) const override;
  void tell_frames(int64_t given, int64_t made) const override;

 private:
  // As the given videos or latents have.
  int64_t frames_given(const CallOptions& options, int64_t videos) const;
  // Of the videos, a row each: [N, F, C, h, w].
  Tensor encoded(const Call& call, Noise& noise, Request& request) const;
};

Family cogvideox_video_to_video_family();

}  // namespace vivace
