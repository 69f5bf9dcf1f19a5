#include "families/cogvideox/video_predictor.h"

#include <utility>

namespace vivace {

VideoPredictor::VideoPredictor(const CogVideoXTransformer3DConfig& config, std::unique_ptr<Predictor> patches)
    : config_(config), patches_(std::move(patches)) {}

void VideoPredictor::predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) {
  if (!packed_.defined()) {
    packed_ = packed_video(config_, latents);
    predicted_ = packed_.clone();
  } else {
    pack_video(config_, latents, packed_);
  }
  patches_->predict(step, timestep, input_scale, packed_, predicted_);
  unpack_video(config_, predicted_, prediction);
}

Predictor::OnDevice VideoPredictor::on_device(const Tensor& latents, std::string against) {
  return patches_->on_device(latents, against.empty() ? "the host packs a video's latents" : std::move(against));
}

}  // namespace vivace
