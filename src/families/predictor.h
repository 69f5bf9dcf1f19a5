// What the denoising loop asks for at every step.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "schedulers/step_program.h"
#include "vivace/tensor.h"

namespace vivace {

// What is a picture's again after each step, at the noise level of the next one, and without noise behind the last.
struct Kept {
  Tensor picture, noise;  // of the loop's shape, whose pixels come last; undefined: nothing is kept
  Tensor mask;            // [images, 1, ...], over the pixels: 1 where it is the loop's, 0 where it is the picture's
};

// A step of the schedule, for a device that takes it whole.
struct DeviceStep {
  int step;
  float timestep, input_scale;
  const StepProgram* program;
  float kept_picture = 1, kept_noise = 0;  // factors of Kept's after it
};

// Steps that a device takes one after the other: the prediction, guidance and the scheduler's step are made where the latents lie, and the host only
// puts them there.
class DeviceLoop {
 public:
  virtual ~DeviceLoop() = default;
  // Once, before the first. The programs are not thresholded; they are read here.
  virtual void begin(std::span<const DeviceStep> steps, const Bounds& bounds, const Tensor& latents, const Kept& kept) = 0;
  // The next one, with the noise that its program draws, or none. Returns before it is done.
  virtual void step(const Tensor& noise) = 0;
  // How many are done. Asks, and waits for nothing.
  virtual int done() = 0;
  // Waits for them and fills the latents. Throws UserError as Predictor::predict does.
  virtual void read(Tensor& latents) = 0;
};

// Of one request. It holds the sessions and everything of the prompt; one model may stand behind it or several, called once a step or more often.
class Predictor {
 public:
  virtual ~Predictor() = default;
  // The prediction at denoising step `step` of the schedule, whose timestep is `timestep`, guidance applied. `latents` and `prediction` are float32
  // of one shape, whatever that is; the model sees latents times `input_scale` (Scheduler::input_scale). Throws UserError that names step and
  // timestep for a prediction that is not finite.
  virtual void predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) = 0;

  // Whole steps by a device with a memory of its own, instead of predict(), or why it makes none. Where the host's memory is the device's there is
  // neither. `latents`: of the loop's shape.
  struct OnDevice {
    std::unique_ptr<DeviceLoop> loop;
    std::string reason;
  };
  // `against`: what the caller has against it, or "".
  virtual OnDevice on_device([[maybe_unused]] const Tensor& latents, [[maybe_unused]] std::string against) { return {}; }
};

}  // namespace vivace
