// What the options of a pipeline do to the picture of the model in the repository.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "pipelines/models.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

DiffusionPipeline emoji(const PretrainedOptions& options = {}) { return DiffusionPipeline::from_pretrained(VIVACE_SOURCE_DIR "/assets/emoji-xl", options); }

Tensor picture(DiffusionPipeline& pipe) { return pipe("a red apple", {.height = 64, .width = 64, .num_inference_steps = 2, .seed = 7}).images[0].tensor(); }

double distance(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i) worst = std::max(worst, std::abs(static_cast<double>(a.floats()[i]) - b.floats()[i]));
  return worst;
}

TEST(PipelineOptions, CompiledPictureIsTheEagerOne) {
  DiffusionPipeline eager = emoji(), compiled = emoji({.compile = {.mode = CompileMode::max_autotune, .fullgraph = true, .exact = true, .autotune_seconds = 0}});
  EXPECT_LT(distance(picture(eager), picture(compiled)), 1e-4);
}

TEST(PipelineOptions, FusedProjectionsKeepThePicture) {
  DiffusionPipeline pipe = emoji();
  const Tensor before = picture(pipe);
  pipe.fuse_qkv_projections();
  EXPECT_LT(distance(before, picture(pipe)), 1e-4);
  pipe.unet().compile({.mode = CompileMode::off});  // stays fused
  EXPECT_LT(distance(before, picture(pipe)), 1e-4);
  pipe.unfuse_qkv_projections();
  EXPECT_EQ(distance(before, picture(pipe)), 0);
}

TEST(PipelineOptions, SdpaKernelScope) {
  DiffusionPipeline pipe = emoji();
  auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
  const auto kernels = [&] {
    std::set<std::string> names;
    for (const PlanStep& step : unet.session(unet.request({1, 8, 8, 77})).plan().step)
      if (step.op == Op::attention) names.insert(step.kernel);
    return names;
  };
  const auto outside = kernels();
  const Tensor before = picture(pipe);
  {
    const sdpa_kernel scope(SDPBackend::math);
    EXPECT_EQ(kernels(), std::set<std::string>{"attention_math"});
    EXPECT_LT(distance(before, picture(pipe)), 1e-4);
  }
  EXPECT_EQ(kernels(), outside);
  EXPECT_EQ(distance(before, picture(pipe)), 0);
}

}  // namespace
}  // namespace vivace
