#include "tune/trial.h"

#include <algorithm>
#include <utility>

#include "interrupt.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {

Trial::Trial(const PictureOptions& options, std::vector<std::string> prompts, uint64_t seed)
    : options_(options), prompts_(std::move(prompts)), seed_(seed), call_(options.call()) {
  call_.stop = interruption();
}

DiffusionPipeline& Trial::pipeline(const PretrainedOptions& setting) {
  if (!pipe_ || dtype_ != setting.dtype) {
    pipe_.reset();  // the memory of one at a time
    PretrainedOptions options = setting;
    options.variant = options_.variant;
    pipe_ = std::make_unique<DiffusionPipeline>(options_.load(options));
    dtype_ = setting.dtype;
  }
  pipe_->compile(setting.compile);
  return *pipe_;
}

std::vector<Image> Trial::draw(const PretrainedOptions& setting, size_t count) {
  DiffusionPipeline& pipe = pipeline(setting);
  std::vector<Image> images;
  for (size_t i = 0; i < count; ++i) {
    call_.seed = seed_ + i;
    for (Image& image : pictures_of(pipe(prompts_[i], call_))) images.push_back(std::move(image));
  }
  return images;
}

double Trial::seconds(const PretrainedOptions& setting) {
  DiffusionPipeline& pipe = pipeline(setting);
  call_.seed = seed_;
  // A setting's first call prepares the weights, in the first step and in decoding: one of the same schedule that ends after two steps is not timed.
  CallOptions first = call_;
  first.callback_on_step_end_tensor_inputs.clear();
  first.callback_on_step_end = [](const DiffusionPipeline&, int step, float, StepState& state) { state.interrupt = step > 0; };
  pipe(prompts_[0], first);
  const Timings timings = steps_timed(pipe(prompts_[0], call_));
  // The fastest of many equal steps: what others on the machine take away only ever adds.
  return static_cast<double>(timings.steps.size()) * *std::ranges::min_element(timings.steps) + timings.decode;
}

Measured Trial::measure(const PretrainedOptions& base, const PretrainedOptions& setting) {
  if (reference_.empty()) reference_ = draw({}, prompts_.size());
  const Drift drift = worst_drift(reference_, draw(setting, prompts_.size()));
  Measured measured = measure_in_turns([&](bool with) { return seconds(with ? setting : base); });
  measured.drift = drift;
  return measured;
}

}  // namespace vivace::cli
