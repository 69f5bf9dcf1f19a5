// StepLoop: what stands around a model's step while the latents stay on its device. Feeding them to the model, guidance and the scheduler's step are
// kernels there; what they need of each step is a row of a table that the host makes before the first one, so that no step asks the host.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/device.h"
#include "schedulers/step_program.h"

namespace vivace {

// In the device's memory. Kernels know its address, which never moves, and look all others up in it, so what was recorded of a step is right for
// every later run, however many steps it has and whatever its scheduler keeps.
struct LoopState {
  const int32_t* table;  // a row of `row_words` a step
  float* slots;          // the tensors of a StepProgram by Slot, one after another; kSample are the latents
  int32_t row_words;
  int32_t row;      // the step to come
  int32_t bad_row;  // the first whose prediction held a NaN or an infinity; -1
  int32_t unused;
};

// A row: what the model is told of the step, the factor of its latents, the guidance scale, the number of combinations; of each of these its target,
// its range (0: not bounded) and the number of its terms, and of each term slot and coefficient. Floats by their bits.
struct LoopRow {
  static constexpr size_t kModelStep = 0, kInputScale = 1, kGuidanceScale = 2, kCombinations = 3, kFirst = 4;
};

// The loop's kernels by the buffers that they work on. Latents are [images, channels, pixels], the model's input and output [images, pixels,
// channels]; with one channel they are the same.
struct LoopCall {
  LoopState* state = nullptr;
  void* input = nullptr;
  void* step = nullptr;  // four bytes
  const void* output = nullptr;
  const float* beside = nullptr;  // [images, beside_channels, pixels]: channels of the input behind those of the latents
  DType input_dtype{}, output_dtype{};
  int64_t images = 0, channels = 0, pixels = 0, beside_channels = 0;
  bool halves = false;  // the input is twice as many images, and of the output the first half is the negative prompt's

  int64_t values() const { return images * channels * pixels; }
  int64_t inputs() const { return images * (channels + beside_channels) * pixels * (halves ? 2 : 1); }
  bool operator==(const LoopCall&) const = default;
};

// feed: latents times the factor, and what lies beside them -> input; what the model is told of the step. finish: the guided prediction, the
// combinations, their kPrevSample as the next latents, the next row. In the order and with the roundings of the host's.
struct LoopKernels {
  std::unique_ptr<BoundKernel> feed, finish;
};

// A step as its row says it.
struct LoopStep {
  int32_t model_step;
  float input_scale, guidance_scale;
  const StepProgram* program;
};

// Of a session, and kept with it: a later request of the same shape takes no memory and finds what was recorded.
class StepLoop {
 public:
  // nullptr where the device has no kernels for it. `call`: without state and beside, which are the loop's own.
  static std::unique_ptr<StepLoop> make(Device& device, const LoopCall& call);
  bool fits(const LoopCall& call) const;

  // Puts on `stream` what the steps need. Where earlier ones needed less memory it waits for them. Programs are not thresholded.
  void begin(Stream& stream, std::span<const LoopStep> steps, const Bounds& bounds, const Tensor& latents, const Tensor& beside,
             RequestCounters& counters);
  // Of the step that is put there next.
  void put_noise(Stream& stream, const Tensor& noise);
  BoundKernel& feed() { return *kernels_.feed; }
  BoundKernel& finish() { return *kernels_.finish; }
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

  Device& device_;
  LoopCall call_;
  std::shared_ptr<void> state_, beside_, fetched_latents_, fetched_state_;
  Room table_, slots_;
  LoopKernels kernels_;
};

}  // namespace vivace
