// StepLoop: what stands around a model's step while the latents stay on its device. Feeding them to the model, guidance, the scheduler's step and
// what a mask puts back are kernels there; what they need of each step is a row of a table that the host makes before the first one, so that no step
// asks the host.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/device.h"
#include "schedulers/step_program.h"

namespace vivace {

class Communicator;  // communicator.h
class Session;

// In the device's memory. Kernels know its address, which never moves, and look all others up in it, so what was recorded of a step is right for
// every later run, however many steps it has and whatever its scheduler keeps.
struct LoopState {
  const int32_t* table;  // a row of `row_words` a step
  float* slots;          // the tensors of a StepProgram by Slot, one after another; kSample are the latents
  const float* kept;     // nullptr, or a picture and its noise, each of the latents' size, and its mask, of an image's pixels for each image
  int32_t row_words;
  int32_t row;      // the step to come
  int32_t bad_row;  // the first whose prediction held a NaN or an infinity; -1
  int32_t unused;
};

inline constexpr size_t kMostAdded = 4;  // models that add to the inputs of another

// A row: what the models are told of the step, the factor of its latents, guidance scale and rescale, the factors of a kept picture and of its noise
// after the step, the scale of what each model adds, the number of combinations; of each of these its target, its range (0: not bounded) and the
// number of its terms, and of each term slot and coefficient. Floats by their bits.
struct LoopRow {
  static constexpr size_t kModelStep = 0, kInputScale = 1, kGuidanceScale = 2, kRescale = 3, kKeptPicture = 4, kKeptNoise = 5, kAdded = 6,
                          kCombinations = kAdded + kMostAdded, kFirst = kCombinations + 1;
};

// A model that a step runs: a session, with the buffers that the loop fills.
struct LoopModel {
  Session* session = nullptr;
  uint64_t number = 0;  // Session::number()
  void* input = nullptr;
  void* step = nullptr;  // four bytes
  DType input_dtype{};
  bool halves = false;  // the input is twice as many images
  bool beside = false;  // and has the loop's channels beside
  // Written before, each time; with any of them, setup runs behind them. A session that is in the loop twice is another prompt's in between.
  struct Given {
    void* to;
    size_t bytes;
    bool operator==(const Given&) const = default;
  };
  std::vector<Given> given;
  // Of what it makes, copied behind it: what LoopCall::negative is then.
  const void* kept_output = nullptr;
  size_t kept_bytes = 0;
  bool operator==(const LoopModel&) const = default;
};

// An input of the last model that others' outputs make: their sum, times each one's scale and `depth`. Those that are shorter are added to its end.
struct LoopSum {
  struct Output {
    const void* data;
    int64_t count;
    bool operator==(const Output&) const = default;
  };
  void* to;
  DType dtype;
  int64_t count;
  float depth;
  std::vector<Output> from;  // by LoopRow::kAdded; at most kMostAdded
  bool operator==(const LoopSum&) const = default;
};

// The loop's kernels by the buffers that they work on. Latents are [images, channels, pixels], a model's input and output [images, pixels,
// channels]; with one channel they are the same.
struct LoopCall {
  LoopState* state = nullptr;
  std::vector<LoopModel> models;   // in order; the last gives the output
  std::vector<LoopSum> sums;       // behind all models but the last
  const void* output = nullptr;    // the prediction, or that of the prompt
  const void* negative = nullptr;  // of the negative prompt, or none
  // Two that make a prediction each, the negative prompt's and the other; `output` is this one's then, and both are exchanged behind the models.
  std::shared_ptr<Communicator> ranks = nullptr;
  const float* beside = nullptr;  // [images, beside_channels, pixels]: channels of the input behind those of the latents
  DType output_dtype{};
  int64_t images = 0, channels = 0, pixels = 0, beside_channels = 0;

  int64_t values() const { return images * channels * pixels; }
  int64_t inputs(const LoopModel& model) const {
    return images * (channels + (model.beside ? beside_channels : 0)) * pixels * (model.halves ? 2 : 1);
  }
  bool operator==(const LoopCall&) const = default;
};

// feeds, by model: latents times the factor, and what lies beside them -> its input; what it is told of the step. add: the sums; none without any.
// finish: the guided prediction, rescaled, the combinations, their kPrevSample with what is kept as the next latents, the next row. In the order and
// with the roundings of the host's.
struct LoopKernels {
  std::vector<std::unique_ptr<BoundKernel>> feeds;
  std::unique_ptr<BoundKernel> add, finish;
};

// A step as its row says it.
struct LoopStep {
  int32_t model_step;
  float input_scale, guidance_scale;
  const StepProgram* program;
  float rescale = 0, kept_picture = 1, kept_noise = 0;
  std::array<float, kMostAdded> added{};
  uint32_t left_out = 0;  // models that it does not run, by bits; what they add is 0
};

// What a run begins with.
struct LoopStart {
  const Bounds& bounds;
  const Tensor &latents, &beside;
  const Tensor &picture, &noise, &mask;    // what is kept, or none
  std::vector<std::vector<Tensor>> given;  // by model, for LoopModel::given
};

// Of a session, and kept with it: a later request of the same shape takes no memory and finds what was recorded.
class StepLoop {
 public:
  // nullptr where the device has no kernels for it. `call`: without state, beside and a negative prediction that is kept or another rank's, which are
  // the loop's own.
  static std::unique_ptr<StepLoop> make(Device& device, const LoopCall& call);
  bool fits(const LoopCall& call) const { return call == asked_; }

  // Puts on `stream` what the steps need. Where earlier ones needed less memory it waits for them. Programs are not thresholded.
  void begin(Stream& stream, std::span<const LoopStep> steps, const LoopStart& start, RequestCounters& counters);
  // What the step that is put there next draws, or none. Returns the models that it leaves out.
  uint32_t next(Stream& stream, const Tensor& noise);

  // The parts of a step, in this order: for each model that runs what is before it, it, and what is behind it.
  const std::vector<LoopModel>& models() const { return call_.models; }
  void put_before(Stream& stream, size_t model);
  void put_feed(Stream& stream, size_t model);
  void put_behind(Stream& stream, size_t model);
  void put_finish(Stream& stream) { stream.launch(*kernels_.finish); }

  // Where the loop stands: there after the next wait.
  void fetch(Stream& stream);
  const float* latents() const { return static_cast<const float*>(fetched_latents_.get()); }
  int32_t bad_row() const { return static_cast<const LoopState*>(fetched_state_.get())->bad_row; }

 private:
  explicit StepLoop(Device& device, const LoopCall& call);
  void* slot(Slot slot) const { return static_cast<char*>(slots_.memory.get()) + static_cast<size_t>(slot) * latent_bytes(); }
  size_t latent_bytes() const { return static_cast<size_t>(call_.values()) * sizeof(float); }
  // Memory that holds at least `bytes`.
  struct Room {
    std::shared_ptr<void> memory;
    size_t bytes = 0;
  };
  void take(Room& room, size_t bytes, Stream& stream, RequestCounters& counters);
  const float* put_kept(Stream& stream, const LoopStart& start, RequestCounters& counters);

  Device& device_;
  const LoopCall asked_;
  LoopCall call_;
  std::shared_ptr<void> state_, beside_, negative_, exchanged_, fetched_latents_, fetched_state_;
  std::vector<std::vector<std::shared_ptr<void>>> given_;  // by model
  Room table_, slots_, kept_;
  LoopKernels kernels_;
  std::unique_ptr<BoundKernel> exchange_;  // of LoopCall::ranks
  std::vector<uint32_t> left_out_;         // by step
  size_t next_ = 0;
};

}  // namespace vivace
