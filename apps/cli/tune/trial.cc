#include "tune/trial.h"

#include <algorithm>

#include "interrupt.h"
#include "vivace/error.h"

namespace vivace::cli {

Trial::Trial(const PictureOptions& options, std::vector<std::string> prompts, uint64_t seed)
    : options_(options), prompts_(std::move(prompts)), seed_(seed), call_(options.call()) {
  call_.callback_on_step_end = [](const DiffusionPipeline&, int, float, StepState&) {
    if (interrupted()) throw Interrupted("interrupted");
  };
}

DiffusionPipeline& Trial::pipeline(const PretrainedOptions& setting) {
  if (!pipe_ || dtype_ != setting.dtype) {
    pipe_.reset();  // the memory of one at a time
    PretrainedOptions options = setting;
    options.variant = options_.variant;
    pipe_ = std::make_unique<DiffusionPipeline>(options_.load(options));
    dtype_ = setting.dtype;
  }
  pipe_->unet().compile(setting.compile);
  pipe_->vae().compile(setting.compile);
  return *pipe_;
}

Size Trial::size() const {
  const Size own = pipe_->default_size();
  return {options_.height.value_or(own.first), options_.width.value_or(own.second)};
}

Trial::Drawn Trial::draw(const PretrainedOptions& setting, size_t count) {
  DiffusionPipeline& pipe = pipeline(setting);
  Drawn drawn;
  double step = 1e300, decode = 1e300;
  size_t steps = 0;
  for (size_t i = 0; i < count; ++i) {
    call_.seed = seed_ + i;
    PipelineOutput out = pipe(prompts_[i], call_);
    // The fastest of many equal steps: what others on the machine take away only ever adds.
    step = std::min(step, *std::ranges::min_element(out.timings.steps));
    decode = std::min(decode, out.timings.decode);
    steps = out.timings.steps.size();
    drawn.images.push_back(std::move(out.images[0]));
  }
  drawn.seconds = static_cast<double>(steps) * step + decode;
  return drawn;
}

Measured Trial::measure(const PretrainedOptions& base, const PretrainedOptions& setting) {
  if (reference_.empty()) reference_ = draw({}, prompts_.size()).images;
  const double before = draw(base, 1).seconds;
  // A decode's first call prepares its weights: the setting gets a second picture, as the base does.
  Drawn drawn = draw(setting, prompts_.size());
  const double again = draw(setting, 1).seconds, after = draw(base, 1).seconds;
  return {std::min(drawn.seconds, again), std::min(before, after), worst_drift(reference_, drawn.images)};
}

}  // namespace vivace::cli
