// Whole calls of FLUX, Kontext, image to image and AuraFlow against Diffusers in fp32, eager and compiled (tools/golden/transformer_pipelines.py).
#include "../pipelines/golden_call.h"
#include "base/json.h"
#include "families/common/clip_prompt.h"
#include "pipelines/loaded.h"
#include "random_model.h"
#include "runtime/request.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = VIVACE_SOURCE_DIR;

fs::path checkpoint(const nlohmann::json& item, const TempFolder& folder) {
  const fs::path name = item.at("checkpoint").get<std::string>();
  if (*name.begin() == "assets") return kSource / name;
  return random_model(name.filename().string(), folder, item.at("weights_seed").get<uint32_t>());
}

class TransformerPipelines : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const nlohmann::json &item = GetParam(), &outputs = item.at("outputs");
    const TempFolder folder;
    PretrainedOptions options;
    options.compile.mode = mode;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(item, folder), options);
    ASSERT_EQ(pipe.class_name(), item.at("pipeline"));
    CallOptions call = call_options(item.at("call"));
    // The network's own rounding (as in tests/models), once a step, amplified by guidance with a negative prompt: the difference of two predictions
    // of about the same size is multiplied by its scale. Embedded guidance amplifies nothing.
    const bool aura = item.at("pipeline") == "AuraFlowPipeline";
    const double guidance = std::max(1., aura ? item.at("call").value("guidance_scale", 3.5) : item.at("call").value("true_cfg_scale", 1.));
    const auto tolerance = [&](int steps) {
      return std::min(1e-3, 5 * std::sqrt(10.0 * 1000) * 0x1p-24 * guidance * std::sqrt(static_cast<double>(steps)));
    };
    call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState& state) {
      if (const std::string name = "latents." + std::to_string(step); outputs.contains(name)) {
        EXPECT_LT(golden::relative_error(outputs.at(name), kData, state.latents), tolerance(step + 1)) << name;
      }
    };
    const PipelineOutput out = pipe(item.at("call").contains("prompt") ? prompts(item.at("call").at("prompt")) : Prompts(), call);
    const int steps = static_cast<int>(out.timings.steps.size());
    EXPECT_LT(golden::relative_error(outputs.at("latents"), kData, out.latents), tolerance(steps));
    if (outputs.contains("images")) {
      EXPECT_LT(golden::relative_error(outputs.at("images"), kData, stack(out.images)), tolerance(steps));
    }
  }
};

TEST_P(TransformerPipelines, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(TransformerPipelines, CompiledMatchesDiffusers) { check(CompileMode::default_); }

INSTANTIATE_TEST_SUITE_P(Golden, TransformerPipelines, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

std::string refusal(DiffusionPipeline& pipe, const CallOptions& options) {
  return message_of<UsageError>([&] { pipe("a red apple", options); });
}

TEST(FluxPipeline, refuses_what_it_cannot_do) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kSource / "assets/emoji-flux");
  CallOptions o{.height = 128, .width = 128};
  o.max_sequence_length = 513;
  EXPECT_NE(refusal(pipe, o).find("max_sequence_length is 513: expected 1 to 512"), std::string::npos);
  o.max_sequence_length = 64;
  o.height = 7;
  EXPECT_NE(refusal(pipe, o).find("height"), std::string::npos);
  o.height = 128;
  o.clip_skip = 1;
  EXPECT_NE(refusal(pipe, o).find("a FluxPipeline does not take clip_skip"), std::string::npos);
  o.clip_skip.reset();
  o.num_inference_steps = 0;
  EXPECT_NE(refusal(pipe, o).find("num_inference_steps is 0"), std::string::npos);
  o.num_inference_steps = 1;
  const std::string own = pipe.scheduler().config();
  pipe.set_scheduler(make_scheduler("ddim", own));
  EXPECT_NE(refusal(pipe, o).find(
                "a DDIMScheduler is not for the models of a FluxPipeline, which take FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler"),
            std::string::npos)
      << refusal(pipe, o);
  pipe.set_scheduler(make_scheduler("unipc", own, R"({"use_flow_sigmas": true, "prediction_type": "flow_prediction"})"));
  EXPECT_EQ(pipe("a red apple", o).images.size(), 1u) << "which makes it one of flows";
}

TEST(FluxPipeline, the_schedule_of_emoji_flux) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kSource / "assets/emoji-flux");
  CallOptions o{.height = 128, .width = 128};
  o.num_inference_steps = 4;
  o.max_sequence_length = 64;
  o.seed = 0;
  std::vector<float> timesteps;
  o.callback_on_step_end = [&](const DiffusionPipeline&, int, float t, StepState&) { timesteps.push_back(t); };
  const PipelineOutput out = pipe("a red apple", o);
  ASSERT_EQ(timesteps.size(), 4u);
  const std::array<float, 4> want{1000, 827.229f, 614.792f, 347.258f};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(timesteps[i], want[i], 1e-3f);
  const std::array<float, 3> latents{-1.173297f, -0.827734f, -1.405817f};
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(out.latents.floats()[i], latents[i], 1e-4f);
}

void expect_same(const Tensor& want, const Tensor& got) {
  ASSERT_EQ(want.shape(), got.shape());
  for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(want.floats()[i], got.floats()[i]) << i;
}

// What the text encoders give is what a call may be given instead of texts.
TEST(FluxPipeline, embeddings_are_the_prompt) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kSource / "assets/emoji-flux");
  CallOptions o{.height = 128, .width = 128, .num_inference_steps = 2, .seed = 3, .output_latent = true};
  o.negative_prompt = "blue";
  o.true_cfg_scale = 2;
  o.max_sequence_length = 16;
  const Tensor want = pipe("a red apple", o).latents;
  const auto encode = [&](const char* text, Tensor& embeds, Tensor& pooled) {
    pooled = pipe.text_encoder()(pipe.tokenize(text, 1), 0).pooler_output;
    embeds = dynamic_cast<T5EncoderModel&>(pipe.model("text_encoder_2"))(tokenize(pipe.loaded().parts, "tokenizer_2", text, 16));
  };
  o.negative_prompt.reset();
  encode("a red apple", o.prompt_embeds, o.pooled_prompt_embeds);
  encode("blue", o.negative_prompt_embeds, o.negative_pooled_prompt_embeds);
  expect_same(want, pipe({}, o).latents);
  o.negative_prompt_embeds = o.negative_pooled_prompt_embeds = {};
  o.negative_prompt = "blue";
  expect_same(want, pipe({}, o).latents);
  o.max_sequence_length.reset();
  EXPECT_NE(message_of<UsageError>([&] { pipe({}, o); }).find("the prompt has 16 tokens and the negative prompt 512"), std::string::npos);
}

TEST(AuraFlowPipeline, embeddings_are_the_prompt) {
  const auto all = cases();
  const auto item = std::ranges::find_if(all, [](const auto& c) { return c.at("pipeline") == "AuraFlowPipeline"; });
  ASSERT_NE(item, all.end());
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(*item, folder));
  CallOptions o{.height = 32, .width = 32, .num_inference_steps = 2, .seed = 3, .output_latent = true};
  o.negative_prompt = "blue";
  o.max_sequence_length = 16;
  const Tensor want = pipe("a red apple", o).latents;
  const auto encode = [&](const char* text) {
    Tensor mask;
    const Tensor ids = tokenize(pipe.loaded().parts, "tokenizer", text, 16, &mask);
    Tensor embeds = dynamic_cast<T5EncoderModel&>(pipe.model("text_encoder"))(ids, mask);
    for (int64_t i = 0; i < embeds.numel(); ++i) embeds.floats()[i] *= mask.floats()[i / embeds.dim(2)];
    return embeds;
  };
  o.negative_prompt.reset();
  o.prompt_embeds = encode("a red apple");
  const Tensor without = pipe({}, o).latents;
  o.negative_prompt_embeds = encode("");
  expect_same(without, pipe({}, o).latents);
  o.negative_prompt_embeds = encode("blue");
  expect_same(want, pipe({}, o).latents);
  o.negative_prompt_embeds = Tensor::zeros({1, 8, o.prompt_embeds.dim(2)});
  EXPECT_NE(message_of<UsageError>([&] { pipe({}, o); }).find("negative_prompt_embeds"), std::string::npos);
}

// Whose ids may lie beyond the encoder's table.
TEST(AuraFlowPipeline, refuses_more_tokens_than_the_text_encoder_has) {
  const TempFolder folder;
  const fs::path model = random_model("aura", folder), file = model / "tokenizer/tokenizer.json";
  nlohmann::json tokenizer = read_json(file);
  nlohmann::json& vocab = tokenizer["model"]["vocab"];
  while (vocab.size() <= 912) vocab["more " + std::to_string(vocab.size())] = vocab.size();
  std::ofstream(file) << tokenizer;
  const std::string message = message_of<UserError>([&] { DiffusionPipeline::from_pretrained(model); });
  EXPECT_NE(message.find("tokenizer has 913 tokens, "), std::string::npos) << message;
  EXPECT_NE(message.find("text_encoder a vocab_size of 912: expected the tokenizer and the text encoder of one model"), std::string::npos) << message;
}

// A model that is called on its own is in its caller's scope as well.
TEST(T5EncoderModel, is_in_the_scope_of_sdpa_kernel) {
  const auto model = T5EncoderModel::from_pretrained(kSource / "assets/emoji-flux/text_encoder_2");
  const Tensor ids = Tensor::zeros({1, 8}, DType::int32);
  const auto plans = [] { return process_counters().plans_compiled; };
  const int64_t before = plans();
  model(ids);
  model(ids);
  EXPECT_EQ(plans(), before + 1);
  const sdpa_kernel scope(SDPBackend::math);
  model(ids);
  EXPECT_EQ(plans(), before + 2) << "the plan of another choice of kernels";
}

}  // namespace
}  // namespace vivace
