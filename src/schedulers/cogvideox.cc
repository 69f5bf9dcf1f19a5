// CogVideoXDDIMScheduler and CogVideoXDPMScheduler: DDIM, and a stochastic DPM-Solver++ of second order, over alphas that are shifted towards
// noise for video (arXiv 2408.06072). In double precision, as Diffusers has them.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"
#include "vivace/generator.h"

namespace vivace {
namespace {

class CogVideoX final : public SchedulerBase {
 public:
  CogVideoX(SchedulerConfig config, bool multistep) : alphas_(read_snr_shifted_alphas(config)), multistep_(multistep) {
    const int train = static_cast<int>(alphas_.size());
    // Fields of the classes whose values no step reads, as in Diffusers: their predicted originals are never bounded.
    config.flag("clip_sample", true);
    config.number("clip_sample_range", 1.0);
    config.number("sample_max_value", 1.0);
    final_alpha_ = config.flag("set_alpha_to_one", true) ? 1.0 : alphas_.front();
    steps_offset_ = config.integer("steps_offset", 0, 0, train);
    prediction_type_ = config.choice("prediction_type", {"epsilon", "sample", "v_prediction"}, "epsilon");
    spacing_ = read_timestep_spacing(config, "leading");
    finish(config, train);
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<CogVideoX>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps&, int steps) override {
    timesteps_ = whole_timesteps(spacing_, num_train_timesteps(), steps, steps_offset_);
    stride_ = num_train_timesteps() / steps;
  }

  StepProgram plan_step(int i) const override {
    const double alpha = this->alpha(i), next = previous_timestep(i) >= 0 ? alphas_[train_index(previous_timestep(i))] : final_alpha_;
    Linear original = kModelOutput;
    if (prediction_type_ == "epsilon") original = (kSample - std::sqrt(1 - alpha) * Linear(kModelOutput)) / std::sqrt(alpha);
    if (prediction_type_ == "v_prediction") original = std::sqrt(alpha) * Linear(kSample) - std::sqrt(1 - alpha) * Linear(kModelOutput);

    StepProgram program;
    const double keep = std::sqrt((1 - next) / (1 - alpha));
    if (!multistep_) {
      program.assign(kPrevSample, keep * Linear(kSample) + (std::sqrt(next) - std::sqrt(alpha) * keep) * original);
      return program;
    }
    program.draw_noise();
    program.assign(history(i), original);
    original = history(i);
    const double h = lambda(next) - lambda(alpha);
    if (has_history(i)) {
      const double r = (lambda(alpha) - lambda(this->alpha(i - 1))) / h;
      original = (1 + 1 / (2 * r)) * original - 1 / (2 * r) * Linear(history(i - 1));
    }
    program.assign(kPrevSample, keep * std::exp(-h) * Linear(kSample) - std::expm1(-2 * h) * std::sqrt(next) * original +
                                    std::sqrt(1 - next) * std::sqrt(1 - std::exp(-2 * h)) * Linear(kNoise));
    return program;
  }

  // A step with history draws once for the first order's sample, which Diffusers makes before it, and again for its own.
  Tensor noise(int i, const Shape& shape, std::span<Generator* const> generators) override {
    Tensor drawn = randn_tensor(shape, generators);
    return has_history(i) ? randn_tensor(shape, generators) : drawn;
  }

  std::pair<float, float> noise_mix(int i) const override {
    const auto alpha = static_cast<float>(this->alpha(i));
    return {std::sqrt(alpha), std::sqrt(1.f - alpha)};
  }

 private:
  static Slot history(int i) { return static_cast<Slot>(kHistory + i % 2); }
  static double lambda(double alpha) { return std::log(std::sqrt(alpha / (1 - alpha))); }
  int previous_timestep(int i) const { return static_cast<int>(timesteps_[i]) - stride_; }
  bool has_history(int i) const { return i > begin_ && previous_timestep(i) >= 0; }
  double alpha(int i) const { return alphas_[train_index(static_cast<int>(timesteps_[i]))]; }

  std::vector<double> alphas_;  // cumulative products
  bool multistep_;
  double final_alpha_;
  std::string prediction_type_;
  TimestepSpacing spacing_;
  int steps_offset_, stride_ = 1;
};

}  // namespace

std::unique_ptr<Scheduler> make_cogvideox_ddim(SchedulerConfig config) { return std::make_unique<CogVideoX>(std::move(config), false); }
std::unique_ptr<Scheduler> make_cogvideox_dpm(SchedulerConfig config) { return std::make_unique<CogVideoX>(std::move(config), true); }

}  // namespace vivace
