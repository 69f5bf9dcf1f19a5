#include "families/cogvideox/video_predictor.h"

#include <utility>

#include "vivace/error.h"

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

// Steps only combine latents element by element: a device takes them as the model reads them, and the host packs what it puts there.
class VideoPredictor::Loop final : public DeviceLoop {
 public:
  Loop(const CogVideoXTransformer3DConfig& config, std::unique_ptr<DeviceLoop> patches) : config_(config), patches_(std::move(patches)) {}

  void begin(std::span<const DeviceStep> steps, const Bounds& bounds, const Tensor& latents, const Kept& kept) override {
    if (kept.picture.defined()) throw InternalError("a video with a mask");
    packed_ = packed_video(config_, latents);
    patches_->begin(steps, bounds, packed_, kept);
  }
  void step(const Tensor& noise) override {
    if (noise.defined()) pack_video(config_, noise, packed_);
    patches_->step(noise.defined() ? packed_ : noise);
  }
  int done() override { return patches_->done(); }
  void read(Tensor& latents) override {
    patches_->read(packed_);
    unpack_video(config_, packed_, latents);
  }

 private:
  const CogVideoXTransformer3DConfig& config_;
  std::unique_ptr<DeviceLoop> patches_;
  Tensor packed_;
};

Predictor::OnDevice VideoPredictor::on_device(const Tensor& latents, std::string against) {
  OnDevice result = patches_->on_device(packed_video(config_, latents), std::move(against));
  if (result.loop) result.loop = std::make_unique<Loop>(config_, std::move(result.loop));
  return result;
}

}  // namespace vivace
