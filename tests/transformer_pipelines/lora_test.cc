// FLUX with LoRAs in every spelling that is read, against Diffusers with peft (tools/golden/lora.py).
#include "../pipelines/lora_case.h"
#include "random_model.h"

namespace vivace {
namespace {

class FluxLora : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const TempFolder folder;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("dev", folder), {.compile = {.mode = mode}});
    load_loras(pipe, GetParam(), folder);
    expect_latents(pipe, GetParam());
  }
};

TEST_P(FluxLora, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(FluxLora, CompiledMatchesDiffusers) { check(CompileMode::default_); }

INSTANTIATE_TEST_SUITE_P(Golden, FluxLora, testing::ValuesIn(lora_cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

}  // namespace
}  // namespace vivace
