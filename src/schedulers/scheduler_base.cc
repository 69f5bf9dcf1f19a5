#include "schedulers/scheduler_base.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

void SchedulerBase::finish(const SchedulerConfig& config, int num_train_timesteps) {
  class_name_ = config.class_name();
  config_json_ = config.json();
  num_train_timesteps_ = num_train_timesteps;
  config.warn_of_ignored();
}

void SchedulerBase::refuse(const std::string& what) const { throw UsageError(class_name_ + ": " + what); }

size_t SchedulerBase::train_index(int timestep) const {
  if (timestep < -1 || timestep >= num_train_timesteps_)
    throw UserError(cat(class_name_, ": timestep ", timestep, " lies outside of the ", num_train_timesteps_,
                        " training timesteps: lower steps_offset or choose another timestep_spacing or number of steps"));
  return static_cast<size_t>(timestep < 0 ? num_train_timesteps_ - 1 : timestep);
}

int SchedulerBase::steps_requested(const SchedulerTimesteps& request) const {
  const Takes can = takes();
  const auto check_list = [&](const std::vector<double>& values, bool taken, const char* name) {
    if (!values.empty() && !taken) refuse(cat("custom ", name, " are not supported: give num_inference_steps, or choose another scheduler"));
    for (double v : values)
      if (!std::isfinite(v) || v < 0) refuse(cat("custom ", name, " must be finite and not negative, got ", v));
  };
  check_list(request.timesteps, can.timesteps, "timesteps");
  check_list(request.sigmas, can.sigmas, "sigmas");
  if (!request.timesteps.empty() && !request.sigmas.empty() && !can.both) refuse("only one of timesteps and sigmas may be given");
  if (!request.timesteps.empty() && !request.sigmas.empty() && request.timesteps.size() != request.sigmas.size())
    refuse(cat("got ", request.timesteps.size(), " timesteps and ", request.sigmas.size(), " sigmas: they must be as many"));
  if (request.mu && !can.mu) refuse("mu is not supported: it belongs to schedulers with use_dynamic_shifting");
  if (request.mu && !std::isfinite(*request.mu)) refuse("mu must be finite");
  if (request.original_inference_steps && !can.original_inference_steps) refuse("original_inference_steps belongs to LCMScheduler and TCDScheduler");
  // As in Diffusers, whose pipelines take it for any scheduler.
  if (request.eta.value_or(0) != 0 && !can.eta) warn(class_name_, " has no eta: ", *request.eta, " is ignored");
  const int custom = request.timesteps.empty() ? steps_of(request.sigmas) : static_cast<int>(request.timesteps.size());
  const bool has_custom = !request.timesteps.empty() || !request.sigmas.empty();
  if (!request.num_inference_steps && !has_custom) refuse("set_timesteps needs num_inference_steps, timesteps or sigmas");
  if (!has_custom) {
    const int n = *request.num_inference_steps;
    if (n < 1 || n > num_train_timesteps_)
      refuse(cat("num_inference_steps must be from 1 to num_train_timesteps = ", num_train_timesteps_, ", got ", n));
    return n;
  }
  if (request.num_inference_steps && *request.num_inference_steps != custom)
    refuse(cat("num_inference_steps is ", *request.num_inference_steps, ", but the custom schedule has ", custom, " steps: give one of them"));
  if (custom < 1) refuse("the custom schedule has no step");
  return custom;
}

void SchedulerBase::set_timesteps(const SchedulerTimesteps& request) {
  const int steps = steps_requested(request);
  request_ = request;
  timesteps_.clear();
  sigmas_.clear();
  begin_ = 0;
  try {
    place_timesteps(request, steps);
    plan();
  } catch (...) {
    timesteps_.clear();  // a half-made schedule must not be used
    throw;
  }
}

void SchedulerBase::set_begin_index(int begin) {
  check_index(begin);
  begin_ = begin;
  plan();
}

void SchedulerBase::plan() {
  programs_.clear();
  for (int i = begin_; i < static_cast<int>(timesteps_.size()); ++i) programs_.push_back(plan_step(i));
  reset();
}

void SchedulerBase::reset() {
  runner_.reset();
  next_ = begin_;
}

void SchedulerBase::check_index(int i) const {
  if (timesteps_.empty()) refuse("set_timesteps must be called first");
  if (i < 0 || static_cast<size_t>(i) >= timesteps_.size()) refuse(cat("step index ", i, " is outside of the ", timesteps_.size(), " timesteps"));
}

const StepProgram& SchedulerBase::program(int i) const {
  check_index(i);
  if (i < begin_) refuse(cat("step ", i, " lies before the begin index ", begin_));
  const StepProgram& program = programs_[i - begin_];
  if (!program.finite())
    throw UserError(cat(class_name_, ": step ", i, " of ", timesteps_.size(), " (timestep ", timesteps_[i],
                        ") divides by zero with this config: two steps share a noise level, or prediction_type, final_sigmas_type or"
                        " rescale_betas_zero_snr do not go together"));
  return program;
}

float SchedulerBase::input_scale(int i) const {
  program(i);
  return 1;
}

Tensor SchedulerBase::step(const Tensor& model_output, int i, const Tensor& sample, std::span<Generator* const> generators) {
  Tensor result = sample;
  step_in_place(model_output, i, result, generators);
  return result;
}

void SchedulerBase::step_in_place(const Tensor& model_output, int i, Tensor& sample, std::span<Generator* const> generators) {
  const StepProgram& program = this->program(i);
  if (sample.dtype() != DType::float32 || model_output.dtype() != DType::float32)
    refuse(
        cat("step takes float32 tensors, got a ", dtype_name(model_output.dtype()), " model output and a ", dtype_name(sample.dtype()), " sample"));
  if (!sample.defined() || sample.shape() != model_output.shape())
    refuse(cat("the model output of shape ", to_string(model_output.shape()), " does not fit the sample of shape ", to_string(sample.shape())));
  if (bounds_.kind == Bound::threshold && sample.rank() < 2) refuse("thresholding needs a batch dimension before the image's");
  if (i == begin_)
    reset();
  else if (i != next_ && program.reads_history())
    refuse(cat("step ", next_, " is due, got step ", i, ": this scheduler builds on its earlier steps"));
  Tensor noise;
  if (program.draws_noise()) noise = this->noise(i, sample.shape(), generators);
  sample = runner_.run(program, bounds_, std::move(sample), model_output, noise);
  next_ = i + 1;
}

Tensor SchedulerBase::noise(int, const Shape& shape, std::span<Generator* const> generators) { return randn_tensor(shape, generators); }

SchedulerBase::Churn SchedulerBase::churn(float sigma) const {
  const bool inside = request_.s_tmin <= sigma && sigma <= request_.s_tmax;
  const double gamma = inside ? std::min(request_.s_churn / static_cast<double>(sigmas_.size() - 1), std::sqrt(2.0) - 1) : 0;
  const float raised = sigma * static_cast<float>(gamma + 1);
  return {raised, gamma > 0 ? request_.s_noise * std::sqrt(raised * raised - sigma * sigma) : 0};
}

Tensor SchedulerBase::add_noise(const Tensor& original, const Tensor& noise, int i) const {
  check_index(i);
  if (!original.defined() || original.dtype() != DType::float32 || noise.dtype() != DType::float32 || original.shape() != noise.shape())
    refuse("add_noise takes float32 tensors of one shape");
  const auto [keep, add] = noise_mix(i);
  StepProgram program;
  program.assign(kPrevSample, keep * Linear(kSample) + add * Linear(kNoise));
  return StepRunner().run(program, bounds_, original, original, noise);
}

Bounds read_bounds(SchedulerConfig& config, bool threshold, bool clip, bool clip_by_default) {
  Bounds bounds;
  if (clip) {
    bounds.clip_range = static_cast<float>(config.number("clip_sample_range", 1.0));
    if (!(bounds.clip_range > 0)) config.unsupported("clip_sample_range", "a positive number");
    if (config.flag("clip_sample", clip_by_default)) bounds.kind = Bound::clip;
  }
  if (threshold) {
    bounds.threshold_ratio = static_cast<float>(config.number("dynamic_thresholding_ratio", 0.995));
    if (!(bounds.threshold_ratio >= 0 && bounds.threshold_ratio <= 1)) config.unsupported("dynamic_thresholding_ratio", "a number from 0 to 1");
    bounds.threshold_max = static_cast<float>(config.number("sample_max_value", 1.0));
    if (!(bounds.threshold_max > 0)) config.unsupported("sample_max_value", "a positive number");
    if (config.flag("thresholding", false)) bounds.kind = Bound::threshold;
  }
  return bounds;
}

float sigma_input_scale(float sigma) { return 1 / std::sqrt(sigma * sigma + 1.f); }

float sigma_init_noise(const std::vector<float>& sigmas, bool leading) {
  const float largest = *std::ranges::max_element(sigmas);
  return leading ? std::sqrt(largest * largest + 1.f) : largest;
}

}  // namespace vivace
