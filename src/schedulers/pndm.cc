// PNDMScheduler: pseudo numerical methods for diffusion models (arXiv 2202.09778): a Runge-Kutta start (prk), then linear multistep (plms).
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/log.h"
#include "schedulers/noise_schedule.h"
#include "schedulers/scheduler_base.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

constexpr Slot kRungeKuttaSum = static_cast<Slot>(kHistory + 1);
constexpr int kPndmOrder = 4;
constexpr int kRungeKuttaCalls = 12;  // three steps of four model calls

class PNDM final : public SchedulerBase {
 public:
  explicit PNDM(SchedulerConfig config) : noise_(read_noise_schedule(config, {.zero_terminal_snr = false})) {
    skip_prk_steps_ = config.flag("skip_prk_steps", false);
    final_alpha_ = config.flag("set_alpha_to_one", false) ? 1.f : noise_.alphas_cumprod.front();
    v_prediction_ = config.choice("prediction_type", {"epsilon", "v_prediction"}, "epsilon") == "v_prediction";
    spacing_ = read_timestep_spacing(config, "leading");
    steps_offset_ = config.integer("steps_offset", 0, 0, noise_.num_train_timesteps());
    finish(config, noise_.num_train_timesteps());
  }

  std::unique_ptr<Scheduler> clone() const override { return std::make_unique<PNDM>(*this); }

 protected:
  void place_timesteps(const SchedulerTimesteps& request, int steps) override;
  StepProgram plan_step(int i) const override { return !skip_prk_steps_ && i - begin_ < kRungeKuttaCalls ? runge_kutta_step(i) : multistep_step(i); }
  std::pair<float, float> noise_mix(int i) const override {
    const float alpha = noise_.alphas_cumprod[train_index(static_cast<int>(timesteps_[i]))];
    return {std::sqrt(alpha), std::sqrt(1.f - alpha)};
  }

 private:
  StepProgram runge_kutta_step(int i) const;
  StepProgram multistep_step(int i) const;
  Linear previous_sample(const Linear& sample, int timestep, int previous, const Linear& output) const;
  // The n-th output that was kept.
  static Slot output(int n) { return static_cast<Slot>(kHistory + 2 + n % kPndmOrder); }

  NoiseSchedule noise_;
  TimestepSpacing spacing_;
  bool skip_prk_steps_, v_prediction_;
  float final_alpha_;
  int steps_offset_, stride_ = 1;
};

void PNDM::place_timesteps(const SchedulerTimesteps&, int steps) {
  std::vector<int> grid;  // descending
  for (double t : space_timesteps(spacing_, num_train_timesteps(), steps, steps_offset_)) grid.push_back(static_cast<int>(std::nearbyint(t)));
  stride_ = num_train_timesteps() / steps;
  if (skip_prk_steps_) {
    // The second timestep comes twice: its second call improves the first step.
    if (grid.size() > 1) grid.insert(grid.begin() + 1, grid[1]);
    timesteps_.assign(grid.begin(), grid.end());
    return;
  }
  if (grid.size() < kPndmOrder) refuse(cat("num_inference_steps must be at least ", kPndmOrder, " unless skip_prk_steps is true, got ", steps));
  // Each of the first three steps calls the model at its start, twice half a stride on, and at its end, which is the next one's start.
  std::vector<int> halves;
  for (int k = 0; k < kPndmOrder; ++k) {
    halves.push_back(grid[k] + stride_ / 2);
    halves.push_back(grid[k]);
  }
  std::vector<int> calls;
  for (size_t k = 1; k < halves.size(); ++k) calls.insert(calls.end(), 2, halves[k]);
  timesteps_.assign(calls.begin() + 1, calls.end() - 1);
  timesteps_.insert(timesteps_.end(), grid.begin() + kPndmOrder - 1, grid.end());
}

// Formula 9 of the paper, solved for the sample at `previous`.
Linear PNDM::previous_sample(const Linear& sample, int timestep, int previous, const Linear& output) const {
  const float alpha = noise_.alphas_cumprod[train_index(timestep)];
  const float alpha_previous = previous >= 0 ? noise_.alphas_cumprod[train_index(previous)] : final_alpha_;
  const float beta = 1.f - alpha, beta_previous = 1.f - alpha_previous;
  const Linear epsilon = v_prediction_ ? std::sqrt(alpha) * output + std::sqrt(beta) * sample : output;
  const float denominator = alpha * std::sqrt(beta_previous) + std::sqrt(alpha * beta * alpha_previous);
  return std::sqrt(alpha_previous / alpha) * sample - (alpha_previous - alpha) * epsilon / denominator;
}

StepProgram PNDM::runge_kutta_step(int i) const {
  StepProgram program;
  const int call = i - begin_, phase = call % 4;
  const int timestep = static_cast<int>(timesteps_[call / 4 * 4]);  // of the list's start, wherever the run begins, as in Diffusers
  const int previous = static_cast<int>(timesteps_[i]) - (call % 2 ? 0 : stride_ / 2);
  Linear used = kModelOutput;
  if (phase == 0) {
    program.assign(kRungeKuttaSum, 1.0 / 6 * used);
    program.assign(output(call / 4), used);
    program.assign(kSavedSample, kSample);
  } else if (phase < 3) {
    program.assign(kRungeKuttaSum, kRungeKuttaSum + 1.0 / 3 * used);
  } else {
    used = kRungeKuttaSum + 1.0 / 6 * used;
  }
  program.assign(kPrevSample, previous_sample(kSavedSample, timestep, previous, used));
  return program;
}

StepProgram PNDM::multistep_step(int i) const {
  StepProgram program;
  const int call = i - begin_;
  int timestep = static_cast<int>(timesteps_[i]), previous = timestep - stride_;
  if (skip_prk_steps_ && call == 1) {  // once more from the first sample, with the mean of both outputs
    previous = timestep;
    timestep += stride_;
    program.assign(kPrevSample, previous_sample(kSavedSample, timestep, previous, (kModelOutput + Linear(output(0))) / 2));
    return program;
  }
  const int n = skip_prk_steps_ ? std::max(call - 1, 0) : call - kRungeKuttaCalls + 3;  // outputs kept before this one
  program.assign(output(n), kModelOutput);
  const auto e = [&](int back) { return Linear(output(n - back)); };
  Linear used = e(0);
  if (n == 0)
    program.assign(kSavedSample, kSample);
  else if (n == 1)
    used = (3 * e(0) - e(1)) / 2;
  else if (n == 2)
    used = (23 * e(0) - 16 * e(1) + 5 * e(2)) / 12;
  else
    used = (55 * e(0) - 59 * e(1) + 37 * e(2) - 9 * e(3)) / 24;
  program.assign(kPrevSample, previous_sample(kSample, timestep, previous, used));
  return program;
}

}  // namespace

std::unique_ptr<Scheduler> make_pndm(SchedulerConfig config) { return std::make_unique<PNDM>(std::move(config)); }

}  // namespace vivace
