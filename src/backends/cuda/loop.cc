// A denoising step around the model's (runtime/step_loop.h), by kernels/step.cuh.
#include <cstddef>
#include <memory>
#include <utility>

#include "backends/cuda/device.h"
#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/step.h"
#include "runtime/step_loop.h"

namespace vivace::cuda {

static_assert(sizeof(LoopState) == sizeof(vivace::LoopState) && offsetof(LoopState, table) == offsetof(vivace::LoopState, table) &&
              offsetof(LoopState, slots) == offsetof(vivace::LoopState, slots) && offsetof(LoopState, kept) == offsetof(vivace::LoopState, kept) &&
              offsetof(LoopState, row_words) == offsetof(vivace::LoopState, row_words) &&
              offsetof(LoopState, row) == offsetof(vivace::LoopState, row) && offsetof(LoopState, bad_row) == offsetof(vivace::LoopState, bad_row));
static_assert(int{kLatents} == int{kSample} && int{kPredicted} == int{kModelOutput} && int{kNextLatents} == int{kPrevSample});
static_assert(LoopRow::kModelStep == kStepWord && LoopRow::kInputScale == kInputScaleWord && LoopRow::kGuidanceScale == kGuidanceWord &&
              LoopRow::kRescale == kRescaleWord && LoopRow::kKeptPicture == kKeptPictureWord && LoopRow::kKeptNoise == kKeptNoiseWord &&
              LoopRow::kAdded == kAddedWord && LoopRow::kCombinations == kCombinationsWord && LoopRow::kFirst == kFirstWord);
static_assert(kMostAdded == sizeof(AddArguments::from) / sizeof(void*));

LoopKernels CudaDevice::loop_kernels(const LoopCall& call) {
  auto* const state = reinterpret_cast<LoopState*>(call.state);
  LoopKernels kernels;
  for (const LoopModel& model : call.models)
    kernels.feeds.push_back(launches(*driver_, make_feed({.state = state,
                                                          .input = model.input,
                                                          .step = static_cast<int*>(model.step),
                                                          .beside = call.beside,
                                                          .count = call.inputs(model),
                                                          .images = call.images,
                                                          .channels = call.channels,
                                                          .beside_channels = model.beside ? call.beside_channels : 0,
                                                          .pixels = call.pixels},
                                                         model.input_dtype)));
  if (!call.sums.empty()) {
    auto all = std::make_unique<Launches>(*driver_);
    for (const LoopSum& sum : call.sums) {
      AddArguments a{.state = state,
                     .to = sum.to,
                     .count = sum.count,
                     .from = {},
                     .counts = {},
                     .models = static_cast<int>(sum.from.size()),
                     .depth = sum.depth};
      for (size_t m = 0; m < sum.from.size(); ++m) {
        a.from[m] = sum.from[m].data;
        a.counts[m] = sum.from[m].count;
      }
      all->add(make_add(a, sum.dtype));
    }
    kernels.add = std::move(all);
  }
  const GuideArguments guided{
      .state = state, .positive = call.output, .negative = call.negative, .count = call.values(), .channels = call.channels, .pixels = call.pixels};
  const auto finish = make_finish({.state = state, .count = call.values(), .channels = call.channels, .pixels = call.pixels});
  // Only what is guided is rescaled.
  kernels.finish =
      call.negative ? launches(*driver_, make_guide(guided, call.output_dtype), make_rescale(guided, call.output_dtype), finish, make_advance(state))
                    : launches(*driver_, make_guide(guided, call.output_dtype), finish, make_advance(state));
  return kernels;
}

}  // namespace vivace::cuda
