// The predictor of most families: one denoiser, with guidance or without.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "families/family.h"
#include "tensor/half.h"

namespace vivace {

class ControlNets;  // control_nets.h

enum class Guidance : uint8_t {
  none,     // one prediction: no guidance, or one that the model was distilled with and takes as a condition
  halves,   // the negative prompt's prediction and the positive one's as one batch, in this order
  in_turn,  // one after the other
  shared,   // one of the two; another rank makes the other (Call::ranks)
};
// Whether this rank is the one that makes the negative prompt's, which is the first.
bool makes_negative(const std::shared_ptr<Communicator>& ranks);
// None where the call has none, else `both`, or shared.
Guidance guidance_of(const Call& call, Guidance both);

// Calls fn with a pointer of the tensor's type: float32, bfloat16 or float16.
template <class Fn>
auto with_activations(const Tensor& t, const Fn& fn) {
  switch (t.dtype()) {
    case DType::bfloat16:
      return fn(t.as<bf16>());
    case DType::float16:
      return fn(t.as<f16>());
    default:
      return fn(t.as<float>());
  }
}

// Of latents: [images, channels, pixels] outside, [images, pixels, channels] inside; with one channel the same on both sides.
struct Layout {
  int64_t images, channels, pixels;
  int64_t image() const { return channels * pixels; }
};
Layout layout_of(const Tensor& latents, bool channels_last);

// Latents times `factor`, and the channels `beside` them or none -> a model's input, whose images may be as many or twice as many.
void feed_latents(const Tensor& latents, const Tensor& beside, bool channels_last, float factor, Tensor& input);
// What a session has inputs for, by their names: of the negative prompt, of the positive one, or with halves of both.
std::map<std::string, Tensor> inputs_of(const Session& session, const Conditioning& conditioning, Guidance guidance, bool negative);
void write_conditioning(Session& session, const Conditioning& conditioning, Guidance guidance, bool negative);

struct GuidedPredictorOptions {
  std::string name;  // of the denoiser, for messages
  Guidance guidance = Guidance::none;
  double scale = 1;                                          // guidance_scale
  float rescale = 0;                                         // guidance_rescale
  std::function<double(float timestep)> scale_at = nullptr;  // guidance_scale where it changes from step to step
  int steps = 0;                                             // of the schedule, for messages
  std::function<float(float)> timestep;                      // what the model takes for a timestep; empty: the same
  std::string input = "sample", output = "sample";
  std::shared_ptr<Communicator> ranks = nullptr;  // shared: of whom this is one
  std::shared_ptr<ControlNets> nets = nullptr;    // that add to the model's inputs at each step
  bool channels_last = true;                      // the model has the latents' second dimension last; then Conditioning::beside may follow them
};

class GuidedPredictor : public Predictor {
 public:
  // `sessions`: one for the images, or with halves for twice as many; with in_turn one for both prompts, which is set up for each of them at every
  // step, or one for the negative prompt and one for the prompt, which a model with a state needs; shared, one for its own. Each has `input` and
  // `output`, whatever `conditioning` names, and what tells the step: "step_index" [1], where "timestep" holds all of `timesteps`, or "timestep".
  GuidedPredictor(std::vector<SessionLease> sessions, Conditioning conditioning, std::span<const float> timesteps, GuidedPredictorOptions options,
                  Request& request);
  void predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) override;
  OnDevice on_device(const Tensor& latents, std::string against) override;

 private:
  class Loop;
  OnDevice loop_on(const Tensor& latents, std::string against);
  void add_models(LoopCall& call);
  std::vector<std::vector<Tensor>> given();
  // Ports of a session, taken once: a step takes no memory.
  struct Ports {
    Port input, step, output;
    bool scheduled;
  };
  // What is known before the first step, of the negative prompt alone or as `halves` say.
  std::map<std::string, Tensor> known(const Session& session, bool negative) const;
  // Writes it, and runs setup.
  void set_up(Session& session, bool negative);
  void predict(size_t session, int step, float timestep, float input_scale, const Tensor& latents);
  void rescale(Tensor& prediction) const;
  // Throws InternalError unless latents and what is beside them fit the session's ports.
  void check_fit(const Ports& ports, const Tensor& latents) const;
  // What the model is told of a step.
  float model_timestep(float timestep) const { return options_.timestep ? options_.timestep(timestep) : timestep; }
  float scale_of(float timestep) const { return static_cast<float>(options_.scale_at ? options_.scale_at(timestep) : options_.scale); }
  [[noreturn]] void not_finite(int step, float timestep) const;
  bool alternates() const { return options_.guidance == Guidance::in_turn && sessions_.size() == 1; }
  // Where the predictions lie; with halves both in one.
  const Tensor& negative() const { return alternates() ? negative_ : ports_.front().output.host; }
  const Tensor& positive() const { return ports_.back().output.host; }

  GuidedPredictorOptions options_;
  Conditioning conditioning_;
  Tensor timesteps_;
  Request& request_;
  std::vector<SessionLease> sessions_;
  std::vector<Ports> ports_;
  Tensor negative_;  // kept while the only session makes the other
};

// Those that the loop takes, and the last of them once more in each row behind (Call::rows).
std::vector<float> timesteps_of(const Call& call, const Scheduler& scheduler);

// The usual one: a session for the images of the call, with guidance for twice as many. Fills the options' guidance and steps.
std::unique_ptr<Predictor> guided_by_halves(SessionLease session, const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                            GuidedPredictorOptions options, Request& request);

}  // namespace vivace
