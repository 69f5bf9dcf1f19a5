// A denoising step around the model's (runtime/step_loop.h), by kernels/step.cuh.
#include <cstddef>

#include "backends/cuda/device.h"
#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/step.h"
#include "runtime/step_loop.h"

namespace vivace::cuda {

static_assert(sizeof(LoopState) == sizeof(vivace::LoopState) && offsetof(LoopState, table) == offsetof(vivace::LoopState, table) &&
              offsetof(LoopState, slots) == offsetof(vivace::LoopState, slots) &&
              offsetof(LoopState, row_words) == offsetof(vivace::LoopState, row_words) &&
              offsetof(LoopState, row) == offsetof(vivace::LoopState, row) && offsetof(LoopState, bad_row) == offsetof(vivace::LoopState, bad_row));
static_assert(int{kLatents} == int{kSample} && int{kPredicted} == int{kModelOutput} && int{kNextLatents} == int{kPrevSample});
static_assert(LoopRow::kModelStep == 0 && LoopRow::kInputScale == 1 && LoopRow::kGuidanceScale == 2 && LoopRow::kCombinations == 3 &&
              LoopRow::kFirst == 4);

LoopKernels CudaDevice::loop_kernels(const LoopCall& call) {
  auto* const state = reinterpret_cast<LoopState*>(call.state);
  return {.feed = launches(*driver_, make_feed({.state = state,
                                                .input = call.input,
                                                .step = static_cast<int*>(call.step),
                                                .beside = call.beside,
                                                .count = call.inputs(),
                                                .images = call.images,
                                                .channels = call.channels,
                                                .beside_channels = call.beside_channels,
                                                .pixels = call.pixels},
                                               call.input_dtype)),
          .finish = launches(*driver_,
                             make_finish({.state = state,
                                          .output = call.output,
                                          .count = call.values(),
                                          .channels = call.channels,
                                          .pixels = call.pixels,
                                          .halves = call.halves},
                                         call.output_dtype),
                             make_advance(state))};
}

}  // namespace vivace::cuda
