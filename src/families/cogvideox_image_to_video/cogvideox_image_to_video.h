// CogVideoXImageToVideoPipeline: the model reads a picture as the first frame, beside the latents.
#pragma once

#include "families/cogvideox/cogvideox.h"

namespace vivace {

class CogVideoXImageToVideoRecipe : public CogVideoXRecipe {
 public:
  explicit CogVideoXImageToVideoRecipe(const Parts& parts) : CogVideoXRecipe(parts, 1) {}
  CallOptions blank_call(Size size) const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  Start start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
              Request& request) const override;

 protected:
  std::vector<std::string_view> also_taken() const override { return {"image"}; }
  int64_t default_frames() const override { return 49; }  // also of models whose own number is another

 private:
  // Of the pictures, a row each, as the model sees them: [N, C, h, w].
  Tensor encoded(const Call& call, Noise& noise, Request& request) const;
};

Family cogvideox_image_to_video_family();

}  // namespace vivace
