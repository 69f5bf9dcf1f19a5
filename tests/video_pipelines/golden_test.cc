// Whole calls of CogVideoX, from text, from a picture and from a video, against Diffusers in fp32, eager and compiled
// (tools/golden/video_pipelines.py).
#include "../pipelines/golden_call.h"
#include "random_video_model.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

Tensor stack(const std::vector<Video>& videos) {
  std::vector<Tensor> rows;
  for (const Video& video : videos) rows.push_back(video.tensor().reshape({1, video.frames(), video.height(), video.width(), 3}));
  return concat_rows(rows);
}

class VideoPipelines : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const nlohmann::json &item = GetParam(), &outputs = item.at("outputs");
    const TempFolder folder;
    PretrainedOptions options{.pipeline_class = item.at("pipeline")};
    options.compile.mode = mode;
    const fs::path configs = item.at("checkpoint").get<std::string>();
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model(configs.filename().string(), folder), options);
    ASSERT_EQ(pipe.class_name(), item.at("pipeline"));
    const nlohmann::json& call = item.at("call");
    const PipelineOutput out = pipe(call.contains("prompt") ? prompts(call.at("prompt")) : Prompts(), call_options(call));
    // The network's own rounding (as in tests/models), once a step, amplified by guidance: the difference of two predictions of about the same size
    // is multiplied by its scale.
    const double guidance = std::max(1., call.value("guidance_scale", 6.)), steps = static_cast<double>(out.timings.steps.size());
    const double tolerance = std::min(1e-3, 5 * std::sqrt(10.0 * 1000) * 0x1p-24 * guidance * std::sqrt(steps));
    EXPECT_LT(golden::relative_error(outputs.at("latents"), kData, out.latents), tolerance);
    EXPECT_TRUE(out.images.empty());
    EXPECT_EQ(out.frames.empty(), !outputs.contains("frames"));
    if (outputs.contains("frames")) {
      EXPECT_LT(golden::relative_error(outputs.at("frames"), kData, stack(out.frames)), tolerance);
    }
  }
};

TEST_P(VideoPipelines, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(VideoPipelines, CompiledMatchesDiffusers) { check(CompileMode::default_); }

INSTANTIATE_TEST_SUITE_P(Golden, VideoPipelines, testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.at("name").template get<std::string>();
  std::ranges::replace(name, '.', '_');
  return name;
});

}  // namespace
}  // namespace vivace
