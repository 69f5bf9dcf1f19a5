// GuidedPredictor's steps where the model's device takes them whole.
#include <bit>
#include <cstring>

#include "families/common/guided_predictor.h"
#include "vivace/error.h"

namespace vivace {

// Of a predictor with one session, which outlives it.
class GuidedPredictor::Loop final : public DeviceLoop {
 public:
  Loop(GuidedPredictor& predictor, StepLoop& loop) : predictor_(predictor), session_(*predictor.sessions_.front()), loop_(loop) {}

  void begin(std::span<const DeviceStep> steps, const Bounds& bounds, const Tensor& latents) override {
    steps_.assign(steps.begin(), steps.end());
    marks_.reserve(steps.size());
    std::vector<LoopStep> rows;
    for (const DeviceStep& s : steps)
      rows.push_back({.model_step = predictor_.ports_.front().scheduled ? s.step : std::bit_cast<int32_t>(predictor_.model_timestep(s.timestep)),
                      .input_scale = s.input_scale,
                      .guidance_scale = predictor_.scale_of(s.timestep),
                      .program = s.program});
    session_.begin(loop_, rows, bounds, latents, predictor_.conditioning_.beside, predictor_.request_);
  }
  void step(const Tensor& noise) override { marks_.push_back(session_.run(loop_, noise, predictor_.request_)); }
  int done() override {
    while (done_ < marks_.size() && session_.passed(marks_[done_])) ++done_;
    return static_cast<int>(done_);
  }
  void read(Tensor& latents) override {
    session_.read(loop_, predictor_.request_);
    if (const int32_t row = loop_.bad_row(); row >= 0) {
      const DeviceStep& s = steps_[static_cast<size_t>(row)];
      predictor_.not_finite(s.step, s.timestep);
    }
    std::memcpy(latents.data(), loop_.latents(), latents.bytes());
  }

 private:
  GuidedPredictor& predictor_;
  Session& session_;
  StepLoop& loop_;
  std::vector<DeviceStep> steps_;
  std::vector<int64_t> marks_;  // behind each step
  size_t done_ = 0;
};

Predictor::OnDevice GuidedPredictor::on_device(const Tensor& latents, std::string against) {
  Session& session = *sessions_.front();
  if (session.device().shares_host_memory()) return {};
  if (!against.empty()) return {nullptr, std::move(against)};
  if (options_.guidance == Guidance::in_turn) return {nullptr, "the prompts are predicted one after the other"};
  if (options_.before_run) return {nullptr, "ControlNets add to the model's inputs at each step"};
  if (options_.guidance != Guidance::none && options_.rescale > 0) return {nullptr, "guidance_rescale takes the deviation of whole predictions"};
  const Ports& ports = ports_.front();
  check_fit(ports, latents);
  const Layout layout = layout_of(latents, options_.channels_last);
  const Tensor& beside = conditioning_.beside;
  StepLoop* const loop = session.loop({.input = ports.input.memory,
                                       .step = ports.step.memory,
                                       .output = ports.output.memory,
                                       .input_dtype = ports.input.host.dtype(),
                                       .output_dtype = ports.output.host.dtype(),
                                       .images = layout.images,
                                       .channels = layout.channels,
                                       .pixels = layout.pixels,
                                       .beside_channels = beside.defined() ? beside.dim(1) : 0,
                                       .halves = options_.guidance == Guidance::halves},
                                      request_);
  if (!loop) return {nullptr, "the device has no kernels for a step's other work"};
  return {std::make_unique<Loop>(*this, *loop), {}};
}

}  // namespace vivace
