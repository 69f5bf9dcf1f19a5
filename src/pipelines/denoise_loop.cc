#include "pipelines/denoise_loop.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/log.h"
#include "schedulers/scheduler_base.h"
#include "tensor/allocations.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double>(to - from).count(); }

// Factors of a kept picture and of its noise after step i, as add_noise has them.
std::pair<float, float> kept_factors(const Scheduler& scheduler, int i, int last) {
  if (i + 1 >= last) return {1.f, 0.f};
  const Tensor mix = scheduler.add_noise(Tensor::from({2}, std::vector<float>{1, 0}), Tensor::from({2}, std::vector<float>{0, 1}), i + 1);
  return {mix.floats()[0], mix.floats()[1]};
}

// Who takes the steps.
class Steps {
 public:
  virtual ~Steps() = default;
  // Step i of the schedule. Returns what the last one took that is done.
  virtual double take(int i) = 0;
  // The latents as they are, and back.
  virtual Tensor take_latents() = 0;
  virtual void put_latents(Tensor latents) = 0;
  virtual Tensor look() = 0;
  // After the last: the seconds of each step.
  virtual void end(std::vector<double>& seconds) = 0;
};

// The model's session gives a prediction; the rest is the host's.
class HostSteps final : public Steps {
 public:
  explicit HostSteps(DenoiseRequest& request) : r_(request), latents_(std::move(request.latents)), prediction_(latents_.shape(), DType::float32) {}

  double take(int i) override {
    const auto begin = Clock::now();
    r_.predictor->predict(i, r_.scheduler->timesteps()[static_cast<size_t>(i)], r_.scheduler->input_scale(i), latents_, prediction_);
    r_.scheduler->step_in_place(prediction_, i, latents_, r_.generators);
    if (r_.kept.picture.defined()) put_back(i);
    return seconds_between(begin, Clock::now());
  }
  Tensor take_latents() override { return std::move(latents_); }
  void put_latents(Tensor latents) override { latents_ = std::move(latents); }
  Tensor look() override { return latents_; }
  void end(std::vector<double>&) override {}

 private:
  void put_back(int i) {
    const Kept& kept = r_.kept;
    const Tensor at = i + 1 < r_.last_step ? r_.scheduler->add_noise(kept.picture, kept.noise, i + 1) : kept.picture;
    const int64_t pixels = kept.mask.numel() / kept.mask.dim(0), image = latents_.numel() / latents_.dim(0);
    for (int64_t k = 0; k < latents_.numel(); ++k) {
      const float m = kept.mask.as<float>()[k / image * pixels + k % pixels];
      float& x = latents_.as<float>()[k];
      x = (1 - m) * at.as<float>()[k] + m * x;
    }
  }

  DenoiseRequest& r_;
  Tensor latents_;  // the only owner, so that the scheduler can write over it
  Tensor prediction_;
};

// All of a step is the device's.
class DeviceSteps final : public Steps {
 public:
  DeviceSteps(DenoiseRequest& request, SchedulerBase& scheduler, DeviceLoop& loop)
      : r_(request), scheduler_(scheduler), loop_(loop), shape_(request.latents.shape()) {
    const auto count = static_cast<size_t>(r_.last_step - r_.first_step);
    std::vector<DeviceStep> steps;
    for (int i = r_.first_step; i < r_.last_step; ++i) {
      const auto [picture, noise] = r_.kept.picture.defined() ? kept_factors(scheduler, i, r_.last_step) : std::pair{1.f, 0.f};
      steps.push_back({i, scheduler.timesteps()[static_cast<size_t>(i)], scheduler.input_scale(i), &scheduler.program(i), picture, noise});
    }
    scheduler.reset();
    loop_.begin(steps, scheduler.bounds(), request.latents, r_.kept);
    seconds_.reserve(count);
  }

  double take(int i) override {
    loop_.step(scheduler_.program(i).draws_noise() ? scheduler_.noise(i, shape_, r_.generators) : Tensor());
    ++put_;
    reach(put_ - kAhead);
    return seconds_.empty() ? 0 : seconds_.back();
  }
  Tensor take_latents() override { return look(); }
  void put_latents(Tensor) override { throw InternalError("the latents are the device's"); }
  Tensor look() override {
    reach(put_);  // so that it can be stopped meanwhile, and another rank that has ended is missed
    Tensor latents(shape_, DType::float32);
    loop_.read(latents);
    return latents;
  }
  void end(std::vector<double>& seconds) override {
    reach(put_);
    seconds = std::move(seconds_);
  }

 private:
  static constexpr int kAhead = 2;  // steps that the host may be ahead: enough to keep the device busy, few enough to stop soon

  // Not before so many steps are done. The device is asked, now and then, so that the request can be stopped meanwhile.
  void reach(int steps) {
    constexpr std::chrono::microseconds kPause{100};
    while (static_cast<int>(seconds_.size()) < steps) {
      r_.request->check();
      for (int done = loop_.done(); static_cast<int>(seconds_.size()) < done;) {
        const auto now = Clock::now();
        seconds_.push_back(seconds_between(since_, now));
        since_ = now;
      }
      if (static_cast<int>(seconds_.size()) < steps) std::this_thread::sleep_for(kPause);
    }
  }

  DenoiseRequest& r_;
  SchedulerBase& scheduler_;
  DeviceLoop& loop_;
  const Shape shape_;
  int put_ = 0;
  Clock::time_point since_ = Clock::now();
  std::vector<double> seconds_;  // of the steps that are known to be done
};

// What keeps whole steps from the device: what is done between them with the latents themselves.
std::string against_device(const DenoiseRequest& r, const SchedulerBase* scheduler) {
  if (r.on_step_end && r.gives_latents) return "a callback is given the latents after each step (callback_on_step_end_tensor_inputs)";
  if (!scheduler) return cat(r.scheduler->class_name(), " is a scheduler that gives no programs");
  if (scheduler->bounds().kind == Bound::threshold) return "thresholding looks at a whole picture";
  return {};
}

}  // namespace

DenoiseResult denoise(DenoiseRequest r) {
  DenoiseResult result;
  const Shape shape = r.latents.shape();
  const int count = std::max(r.last_step - r.first_step, 0);
  result.seconds.reserve(static_cast<size_t>(count));
  if (r.first_step > 0) r.scheduler->set_begin_index(r.first_step);
  const RequestCounters& counters = r.request->counters;
  const auto allocations = [&] { return tensor_allocations() + counters.allocations; };
  auto* const programs = dynamic_cast<SchedulerBase*>(r.scheduler);
  Predictor::OnDevice device;
  if (count > 0) device = r.predictor->on_device(r.latents, against_device(r, programs));
  result.loop_break = std::move(device.reason);
  if (!result.loop_break.empty()) info("each denoising step waits for the device: ", result.loop_break);
  std::unique_ptr<Steps> steps;
  if (device.loop)
    steps = std::make_unique<DeviceSteps>(r, *programs, *device.loop);
  else
    steps = std::make_unique<HostSteps>(r);
  int64_t allocations_before = 0, syncs_before = 0;
  for (int i = r.first_step; i < r.last_step; ++i) {
    result.seconds.push_back(steps->take(i));
    if (i == r.first_step) {
      allocations_before = allocations();
      syncs_before = counters.host_device_syncs;
    }
    if (!r.on_step_end) continue;
    StepState state{.latents = r.gives_latents ? steps->take_latents() : Tensor(), .num_timesteps = count, .seconds = result.seconds.back()};
    state.look = [&] { return r.gives_latents ? state.latents : steps->look(); };
    r.on_step_end(i - r.first_step, r.scheduler->timesteps()[static_cast<size_t>(i)], state);
    if (r.gives_latents) {
      if (state.latents.shape() != shape || state.latents.dtype() != DType::float32)
        throw UsageError(cat("the callback left latents of shape ", to_string(state.latents.shape()), " and dtype ",
                             dtype_name(state.latents.dtype()), ": expected float32 ", to_string(shape)));
      steps->put_latents(std::move(state.latents));
    } else if (state.latents.defined()) {
      throw UsageError("the callback sets latents that it was not given: name them in callback_on_step_end_tensor_inputs");
    }
    if (state.interrupt) break;
  }
  if (!result.seconds.empty()) {
    steps->end(result.seconds);
    result.allocations = allocations() - allocations_before;
    result.host_device_syncs = counters.host_device_syncs - syncs_before;
  }
  result.latents = steps->take_latents();
  return result;
}

}  // namespace vivace
