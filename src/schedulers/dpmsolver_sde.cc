// DPMSolverSDEScheduler: the stochastic sampler of Karras et al. 2022 with DPM-Solver's step ("DPM++ SDE"), two model calls a step. Its noise is
// Brownian motion over the sigmas, so that the two calls of a step see parts of one path.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "schedulers/brownian_tree.h"
#include "schedulers/numeric.h"
#include "schedulers/sigma_base.h"

namespace vivace {
namespace {

class DPMSolverSDE final : public SigmaBase {
 public:
  explicit DPMSolverSDE(SchedulerConfig config)
      : SigmaBase(
            config,
            {.noise = {.beta_start = 0.00085, .beta_end = 0.012, .zero_terminal_snr = false}, .karras_in_range = false, .float_timesteps = false}) {
    prediction_type_ = config.choice("prediction_type", {"epsilon", "v_prediction"}, "epsilon");
    seed_ = config.optional_seed("noise_sampler_seed");
    finish(config, noise_.num_train_timesteps());
  }

  int order() const override { return 2; }
  float input_scale(int i) const override { return scale_at(first(i) ? sigmas_[i] : step_at(i).middle, i); }
  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<DPMSolverSDE>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override;
  StepProgram plan_step(int i) const override;
  Tensor noise(int i, const Shape& shape, std::span<Generator* const> generators) override;

 private:
  // The sigmas that model call i's step goes between; `middle` lies half way in the logarithm.
  struct Step {
    float from, middle, to;
  };
  bool first(int i) const { return (i - begin_) % 2 == 0; }
  Step step_at(int i) const;
  void plant(const Shape& shape, std::span<Generator* const> generators);

  std::optional<uint64_t> seed_;
  std::vector<BrownianTree> trees_;  // of this run: one, or one an image
  Shape shape_;                      // of the samples they are for; empty before the first
};

void DPMSolverSDE::place_timesteps(const SchedulerTimesteps&, int steps) {
  const Levels at = levels({}, steps);
  const std::vector<float> logs = log_sigmas(noise_.sigmas);
  shape_.clear();
  for (size_t k = 0; k < at.sigmas.size(); ++k) {
    if (k > 0) {
      const double from = -std::log(at.sigmas[k - 1]), to = -std::log(at.sigmas[k]);
      timesteps_.push_back(static_cast<float>(sigma_to_t(std::exp(-(from + (to - from) * 0.5)), logs)));
    }
    timesteps_.push_back(static_cast<float>(at.timesteps[k]));
    sigmas_.insert(sigmas_.end(), k == 0 ? 1 : 2, static_cast<float>(at.sigmas[k]));
  }
  sigmas_.push_back(0.f);
}

DPMSolverSDE::Step DPMSolverSDE::step_at(int i) const {
  Step step{};
  step.from = first(i) ? sigmas_[i] : sigmas_[i - 1];
  step.to = first(i) ? sigmas_[i + 1] : sigmas_[i];
  const float from = -log_float(step.from), to = -log_float(step.to);
  step.middle = step.to > 0 ? exp_float(-(from + (to - from) * 0.5f)) : 0.f;
  return step;
}

StepProgram DPMSolverSDE::plan_step(int i) const {
  StepProgram program;
  const Step step = step_at(i);
  const double at = first(i) ? step.from : step.middle;
  if (step.to == 0) {
    program.assign(kPrevSample, kSample - step.from * ((kSample - original(at)) / step.from));
    return program;
  }
  program.draw_noise();
  // Down past the target, and with noise back up to it.
  const float from = step.from, to = first(i) ? step.middle : step.to;
  const float up = std::min(to, std::sqrt(to * to * (from * from - to * to) / (from * from))), down = std::sqrt(to * to - up * up);
  const float t = -log_float(from), ancestral = -log_float(down);
  if (first(i)) program.assign(kSavedSample, kSample);
  program.assign(kPrevSample, exp_float(-ancestral) / exp_float(-t) * Linear(first(i) ? kSample : kSavedSample) -
                                  expm1_float(t - ancestral) * original(at) + request_.s_noise * up * Linear(kNoise));
  return program;
}

void DPMSolverSDE::plant(const Shape& shape, std::span<Generator* const> generators) {
  std::vector<float> positive;
  std::ranges::copy_if(sigmas_, std::back_inserter(positive), [](float sigma) { return sigma > 0; });
  const auto [low, high] = std::ranges::minmax(positive);
  trees_.clear();
  if (seed_) {
    trees_.emplace_back(shape, low, high, *seed_);
    return;
  }
  // Diffusers draws the seed from torch's global generator; here it comes from the call's, which gives the same where both had one seed. Several
  // generators have a tree each, so that every image is what it would be alone.
  if (generators.empty() || std::ranges::count(generators, nullptr) > 0) refuse("step needs a generator, or noise_sampler_seed in the config");
  constexpr uint64_t kRange = (uint64_t{1} << 63) - 1;
  const Shape of_one = generators.size() > 1 ? Shape(shape.begin() + 1, shape.end()) : shape;
  for (Generator* generator : generators) trees_.emplace_back(of_one, low, high, generator->random64() % kRange);
}

Tensor DPMSolverSDE::noise(int i, const Shape& shape, std::span<Generator* const> generators) {
  if (i == begin_ || shape != shape_) {
    plant(shape, generators);
    shape_ = shape;
  }
  const Step step = step_at(i);
  // Through the logarithm and back, as the reference asks for them.
  const float from = exp_float(log_float(step.from));
  const float to = first(i) ? step.middle : exp_float(log_float(step.to));
  const float deviation = std::sqrt(std::abs(to - from));
  Tensor out(shape, DType::float32);
  int64_t at = 0;
  for (const BrownianTree& tree : trees_) {
    const Tensor moved = tree.increment(from, to);
    for (float w : moved.floats()) out.as<float>()[at++] = w / deviation;
  }
  return out;
}

}  // namespace

std::unique_ptr<Scheduler> make_dpmsolver_sde(SchedulerConfig config) { return std::make_unique<DPMSolverSDE>(std::move(config)); }

}  // namespace vivace
