#include "backends/cuda/kernels/step.h"

#include <algorithm>

#include "base/log.h"

namespace vivace::cuda {
namespace {

constexpr unsigned kStepThreads = 256, kMostBlocks = 1024;  // threads go on to other elements

template <class Arguments>
Call<Arguments> over(const Arguments& a, std::string function, const char* arguments) {
  return {{.source = "step.cuh",
           .function = std::move(function),
           .arguments = arguments,
           .grid = {std::clamp(blocks_for(a.count, kStepThreads), 1u, kMostBlocks), 1, 1},
           .block = kStepThreads},
          a};
}

}  // namespace

Call<FeedArguments> make_feed(const FeedArguments& a, DType dtype) { return over(a, cat("feed<", type_name(dtype), ">"), "FeedArguments"); }
Call<AddArguments> make_add(const AddArguments& a, DType dtype) { return over(a, cat("add_scaled<", type_name(dtype), ">"), "AddArguments"); }
Call<GuideArguments> make_guide(const GuideArguments& a, DType dtype) { return over(a, cat("guide<", type_name(dtype), ">"), "GuideArguments"); }
Call<GuideArguments> make_rescale(const GuideArguments& a, DType dtype) {
  return {{.source = "step.cuh",
           .function = cat("rescale<", type_name(dtype), ">"),
           .arguments = "GuideArguments",
           .grid = {static_cast<unsigned>(a.count / (a.channels * a.pixels)), 1, 1},
           .block = 4 * kStepThreads,  // few blocks go over all of an image
           .shared = 4 * 32 * sizeof(float)},
          a};
}
Call<FinishArguments> make_finish(const FinishArguments& a) { return over(a, "finish", "FinishArguments"); }
Call<AdvanceArguments> make_advance(LoopState* state) {
  return {{.source = "step.cuh", .function = "advance", .arguments = "AdvanceArguments", .block = 32}, {state}};
}

}  // namespace vivace::cuda
