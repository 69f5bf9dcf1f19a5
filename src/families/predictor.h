// What the denoising loop asks for at every step.
#pragma once

#include "vivace/tensor.h"

namespace vivace {

// Of one request. It holds the sessions and everything of the prompt; one model may stand behind it or several, called once a step or more often.
class Predictor {
 public:
  virtual ~Predictor() = default;
  // The prediction at denoising step `step` of the schedule, whose timestep is `timestep`, guidance applied. `latents` and `prediction` are float32
  // of one shape, whatever that is; the model sees latents times `input_scale` (Scheduler::input_scale). Throws UserError that names step and
  // timestep for a prediction that is not finite.
  virtual void predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) = 0;
};

}  // namespace vivace
