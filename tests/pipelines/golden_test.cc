// Whole pipeline calls against Diffusers in fp32, eager and compiled (tools/golden/pipelines.py).
#include "../temp_folder.h"
#include "base/json.h"
#include "checkpoint.h"
#include "golden_call.h"

namespace vivace {
namespace {

class Pipelines : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const auto& item = GetParam();
    const TempFolder folder;
    PretrainedOptions options;
    options.compile.mode = mode;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(item, folder.path()), options);
    ASSERT_EQ(pipe.class_name(), item.at("pipeline"));
    if (item.contains("scheduler"))
      pipe.set_scheduler(make_scheduler(item.at("scheduler").at("_class_name").get<std::string>(), json_text(item.at("scheduler"))));
    const PipelineOutput out = pipe(prompts(item.at("call").at("prompt")), call_options(item.at("call")));
    const auto& outputs = item.at("outputs");
    // The network's own rounding (as in tests/models), once a step, amplified by guidance: the difference of two predictions of about the same
    // size is multiplied by guidance_scale.
    const double guidance = std::max(1.0, item.at("call").value("guidance_scale", 5.0));
    const double steps = static_cast<double>(out.timings.steps.size());
    const double tolerance = std::min(1e-3, 5 * std::sqrt(10.0 * 1000) * 0x1p-24 * guidance * std::sqrt(steps));
    EXPECT_LT(golden::relative_error(outputs.at("latents"), kData, out.latents), tolerance);
    if (outputs.contains("images")) {
      EXPECT_LT(golden::relative_error(outputs.at("images"), kData, stack(out.images)), tolerance);
    }
  }
};

TEST_P(Pipelines, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(Pipelines, CompiledMatchesDiffusers) { check(CompileMode::default_); }

INSTANTIATE_TEST_SUITE_P(Golden, Pipelines, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

}  // namespace
}  // namespace vivace
