// GuidedPredictor's steps where the model's device takes them whole.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "families/common/control_nets.h"
#include "families/common/guided_predictor.h"
#include "runtime/communicator.h"
#include "runtime/step_loop.h"
#include "vivace/error.h"

namespace vivace {

// Of a predictor, which outlives it.
class GuidedPredictor::Loop final : public DeviceLoop {
 public:
  Loop(GuidedPredictor& predictor, StepLoop& loop) : predictor_(predictor), session_(*predictor.sessions_.back()), loop_(loop) {}
  ~Loop() override {
    // The other rank may never come to a step that this one has put there.
    if (Communicator* const ranks = predictor_.options_.ranks.get(); ranks && under_way_) ranks->abort();
    session_.leave(loop_, predictor_.request_);
  }
  Loop(const Loop&) = delete;

  void begin(std::span<const DeviceStep> steps, const Bounds& bounds, const Tensor& latents, const Kept& kept) override {
    const GuidedPredictorOptions& o = predictor_.options_;
    steps_.assign(steps.begin(), steps.end());
    marks_.reserve(steps.size());
    std::vector<LoopStep> rows;
    for (const DeviceStep& s : steps) {
      LoopStep row{.model_step = predictor_.ports_.front().scheduled ? s.step : std::bit_cast<int32_t>(predictor_.model_timestep(s.timestep)),
                   .input_scale = s.input_scale,
                   .guidance_scale = predictor_.scale_of(s.timestep),
                   .program = s.program,
                   .rescale = o.guidance == Guidance::none ? 0 : o.rescale,
                   .kept_picture = s.kept_picture,
                   .kept_noise = s.kept_noise};
      if (o.nets) o.nets->tell(s.step, row);
      rows.push_back(row);
    }
    session_.begin(loop_, rows,
                   {.bounds = bounds,
                    .latents = latents,
                    .beside = predictor_.conditioning_.beside,
                    .picture = kept.picture,
                    .noise = kept.noise,
                    .mask = kept.mask,
                    .given = predictor_.given()},
                   predictor_.request_);
  }
  void step(const Tensor& noise) override {
    under_way_ = true;
    marks_.push_back(session_.run(loop_, noise, predictor_.request_));
  }
  int done() override {
    if (predictor_.options_.ranks) predictor_.options_.ranks->check();
    while (done_ < marks_.size() && session_.passed(marks_[done_])) ++done_;
    return static_cast<int>(done_);
  }
  void read(Tensor& latents) override {
    session_.read(loop_, predictor_.request_);
    under_way_ = false;
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
  bool under_way_ = false;
};

// The models of a step: ControlNets and the denoiser; both prompts' sessions; or one that is each prompt's in turn.
void GuidedPredictor::add_models(LoopCall& call) {
  if (options_.nets) options_.nets->join(call);
  for (int turn = alternates() ? 0 : 1; turn < 2; ++turn)
    for (size_t i = 0; i < sessions_.size(); ++i) {
      Session& session = *sessions_[i];
      const Ports& ports = ports_[i];
      LoopModel model{.session = &session,
                      .number = session.number(),
                      .input = ports.input.memory,
                      .step = ports.step.memory,
                      .input_dtype = ports.input.host.dtype(),
                      .halves = options_.guidance == Guidance::halves,
                      .beside = conditioning_.beside.defined(),
                      .given = {}};
      if (alternates())
        for (const auto& [name, value] : known(session, turn == 0)) {
          const Port port = session.input(name);
          model.given.push_back({port.memory, port.host.bytes()});
        }
      if (alternates() && turn == 0) {
        model.kept_output = ports.output.memory;
        model.kept_bytes = ports.output.host.bytes();
      }
      call.models.push_back(std::move(model));
    }
}

// What they are given before each step, in their dtypes.
std::vector<std::vector<Tensor>> GuidedPredictor::given() {
  std::vector<std::vector<Tensor>> result;
  if (!alternates()) return result;
  Session& session = *sessions_.front();
  for (bool negative : {true, false})
    for (auto& tensors = result.emplace_back(); const auto& [name, value] : known(session, negative))
      tensors.push_back(value.to(session.input(name).host.dtype()));
  return result;
}

Predictor::OnDevice GuidedPredictor::on_device(const Tensor& latents, std::string against) {
  OnDevice made = loop_on(latents, std::move(against));
  if (options_.guidance == Guidance::shared && !made.loop)
    throw UsageError(cat("two processes share the guidance of steps that their devices take whole, and here the host takes a part: ",
                         made.reason.empty() ? "its memory is the device's" : made.reason));
  return made;
}

Predictor::OnDevice GuidedPredictor::loop_on(const Tensor& latents, std::string against) {
  Session& session = *sessions_.back();
  if (session.device().shares_host_memory()) return {};
  if (!against.empty()) return {nullptr, std::move(against)};
  const Ports& ports = ports_.back();
  check_fit(ports, latents);
  const Layout layout = layout_of(latents, options_.channels_last);
  const Tensor& beside = conditioning_.beside;
  LoopCall call{.output_dtype = ports.output.host.dtype(),
                .images = layout.images,
                .channels = layout.channels,
                .pixels = layout.pixels,
                .beside_channels = beside.defined() ? beside.dim(1) : 0};
  add_models(call);
  if (std::ranges::any_of(call.models, [&](const LoopModel& model) { return &model.session->device() != &session.device(); }))
    return {nullptr, "a model of the step is on another device"};
  const auto* const output = static_cast<const char*>(ports.output.memory);
  const bool halves = options_.guidance == Guidance::halves;
  call.output = halves ? output + ports.output.host.bytes() / 2 : output;
  if (halves) call.negative = output;
  if (options_.guidance == Guidance::shared) {
    options_.ranks->check();
    call.ranks = options_.ranks;
  }
  if (sessions_.size() > 1) call.negative = ports_.front().output.memory;
  StepLoop* const loop = session.loop(call, request_);
  if (!loop) return {nullptr, "the device has no kernels for a step's other work"};
  return {std::make_unique<Loop>(*this, *loop), {}};
}

}  // namespace vivace
