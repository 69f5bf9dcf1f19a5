// Whole pipeline calls against Diffusers in fp32, eager and compiled (tools/golden/pipelines.py).
#include "../models/golden.h"

#include <mutex>

#include "../temp_folder.h"
#include "checkpoint.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kData = VIVACE_TEST_DATA;

std::vector<golden::Case> cases() {
  std::vector<golden::Case> result;
  for (const auto& item : golden::read_cases(kData)) result.push_back(item);
  return result;
}

Prompts prompts(const nlohmann::json& value) {
  return value.is_string() ? Prompts(value.get<std::string>()) : Prompts(value.get<std::vector<std::string>>());
}
Size size(const nlohmann::json& value) { return {value.at(0), value.at(1)}; }

CallOptions call_options(const nlohmann::json& call) {
  CallOptions o;
  for (const auto& [key, value] : call.items()) {
    if (key == "prompt_2") o.prompt_2 = prompts(value);
    else if (key == "negative_prompt") o.negative_prompt = prompts(value);
    else if (key == "negative_prompt_2") o.negative_prompt_2 = prompts(value);
    else if (key == "height") o.height = value;
    else if (key == "width") o.width = value;
    else if (key == "num_inference_steps") o.num_inference_steps = value.get<int>();
    else if (key == "guidance_scale") o.guidance_scale = value.get<double>();
    else if (key == "guidance_rescale") o.guidance_rescale = value;
    else if (key == "denoising_end") o.denoising_end = value.get<double>();
    else if (key == "timesteps") o.timesteps = value.get<std::vector<double>>();
    else if (key == "sigmas") o.sigmas = value.get<std::vector<double>>();
    else if (key == "original_inference_steps") o.original_inference_steps = value.get<int>();
    else if (key == "eta") o.eta = value;
    else if (key == "clip_skip") o.clip_skip = value.get<int>();
    else if (key == "num_images_per_prompt") o.num_images_per_prompt = value;
    else if (key == "original_size") o.original_size = size(value);
    else if (key == "target_size") o.target_size = size(value);
    else if (key == "negative_original_size") o.negative_original_size = size(value);
    else if (key == "negative_target_size") o.negative_target_size = size(value);
    else if (key == "crops_coords_top_left") o.crops_coords_top_left = size(value);
    else if (key == "negative_crops_coords_top_left") o.negative_crops_coords_top_left = size(value);
    else if (key == "latents") o.latents = golden::make_input(value);
    else if (key == "output_type") o.output_latent = value == "latent";
    else if (key == "generator" && value.contains("seed")) o.seed = value.at("seed").get<uint64_t>();
    else if (key == "generator") o.seeds = value.at("seeds").get<std::vector<uint64_t>>();
    else if (key != "prompt") ADD_FAILURE() << "the test does not know the argument " << key;
  }
  return o;
}

Tensor stack(const std::vector<Image>& images) {
  std::vector<Tensor> rows;
  for (const Image& image : images) rows.push_back(image.tensor().reshape({1, image.height(), image.width(), 3}));
  return concat_rows(rows);
}

class Pipelines : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const auto& item = GetParam();
    const TempFolder folder;
    PretrainedOptions options;
    options.compile.mode = mode;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(item, folder.path()), options);
    ASSERT_EQ(pipe.class_name(), item.at("pipeline"));
    if (item.contains("scheduler")) pipe.set_scheduler(make_scheduler(item.at("scheduler").at("_class_name").get<std::string>(), item.at("scheduler").dump()));
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

INSTANTIATE_TEST_SUITE_P(Golden, Pipelines, testing::ValuesIn(cases()), [](const auto& info) { return info.param.at("name").template get<std::string>(); });

}  // namespace
}  // namespace vivace
