// The predictor of a model that reads videos as a sequence of patches.
#pragma once

#include <memory>

#include "components/cogvideox_transformer.h"
#include "families/predictor.h"

namespace vivace {

// Latents of the loop are [N, F, C, h, w]; `patches` is asked for the prediction of what pack_video makes of them.
class VideoPredictor : public Predictor {
 public:
  // `config` outlives the predictor.
  VideoPredictor(const CogVideoXTransformer3DConfig& config, std::unique_ptr<Predictor> patches);
  void predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) override;
  OnDevice on_device(const Tensor& latents, std::string against) override;

 private:
  class Loop;
  const CogVideoXTransformer3DConfig& config_;
  std::unique_ptr<Predictor> patches_;
  Tensor packed_, predicted_;  // taken at the first step
};

}  // namespace vivace
