// generate: schedulers and their fields, and words to who may not mean what is asked for.
#include "vivace/scheduler.h"

#include <thread>

#include "few_steps.h"
#include "program.h"
#include "tensor/npy.h"
#include "vivace/pipeline.h"

namespace vivace {
namespace {

// Two of its names are one class.
TEST(Generate, PngCarriesTheSchedulerAsItWasAskedFor) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  for (const char* name : {"dpmpp_2m", "dpmpp_2m_sde", "HeunDiscreteScheduler"}) {
    ASSERT_EQ(vivace(generate(path, {"--scheduler", name})).code, 0);
    EXPECT_NE(read_text(path).find(std::string(" scheduler=") + name + ' '), std::string::npos) << name;
  }
}

// What pipe.set_scheduler(EulerDiscreteScheduler::from_config(pipe.scheduler().config(), ...)) draws.
TEST(Generate, SchedulerConfigIsFromConfigsKeywordArguments) {
  const TempFolder folder;
  const char* kFields = R"({"timestep_spacing": "trailing", "use_karras_sigmas": true})";
  const std::string picture = (folder / "x.npy").string(), png = (folder / "x.png").string();
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(tiny_model());
  CallOptions call{.num_inference_steps = 3};
  call.seed = 7;
  const auto drawn = [&](std::unique_ptr<Scheduler> scheduler) {
    pipe.set_scheduler(std::move(scheduler));
    const Tensor image = pipe("a red apple", call).images.at(0).tensor().clone();
    return std::vector<float>(image.floats().begin(), image.floats().end());
  };
  const std::string own = pipe.scheduler().config();
  const auto told = [&](std::vector<std::string> more) {
    const Finished done = vivace(generate(picture, more));
    EXPECT_EQ(done.code, 0) << done.err;
    const Tensor image = load_npy(picture);
    return std::vector<float>(image.floats().begin(), image.floats().end());
  };
  const std::vector<float> plain = drawn(make_scheduler("euler", own)), wanted = drawn(make_scheduler("euler", own, kFields));
  ASSERT_NE(plain, wanted);
  EXPECT_EQ(told({"--scheduler-config", kFields}), wanted);
  EXPECT_EQ(told({"--scheduler", "dpmpp_2m_sde", "--scheduler-config", R"({"solver_order": 1})"}),
            drawn(make_scheduler("dpmpp_2m_sde", own, R"({"solver_order": 1})")));
  ASSERT_EQ(vivace(generate(png, {"--scheduler-config", kFields})).code, 0);
  EXPECT_NE(read_text(png).find(R"( scheduler=EulerDiscreteScheduler scheduler_config={"timestep_spacing":"trailing","use_karras_sigmas":true} )"),
            std::string::npos);
}

// Where Diffusers draws, so does this; but it says what that is.
TEST(Generate, SchedulersOfOtherModelsAreToldOrRefused) {
  const TempFolder folder;
  const std::string path = (folder / "x.npy").string();
  const Finished video = vivace(generate(path, {"--scheduler", "cogvideox_ddim"}));
  EXPECT_EQ(video.code, 0) << video.err;
  EXPECT_NE(video.err.find("a CogVideoXDDIMScheduler is not for the models of a StableDiffusionXLPipeline, which take EulerDiscreteScheduler, "),
            std::string::npos)
      << video.err;
  const Finished own = vivace(generate(path, {"--scheduler", "edm_euler"}));
  EXPECT_EQ(own.err.find("is not for the models"), std::string::npos) << own.err;
  expect_no_picture(tiny_model(), 2, {"a FlowMatchEulerDiscreteScheduler is not for the models of a StableDiffusionXLPipeline"},
                    {"--scheduler", "flow_match_euler"});
  expect_no_picture(VIVACE_SOURCE_DIR "/assets/emoji-flux", 2,
                    {"a DDIMScheduler is not for the models of a FluxPipeline, which take FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler"},
                    {"--scheduler", "ddim"});
}

// Quotes that were forgotten, and a number of threads that is none of this machine's.
TEST(Generate, SaysWhatIsProbablyNotMeant) {
  const TempFolder folder;
  const auto draw = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "generate");
    words.insert(words.end(), {"--model", tiny_model(), "--num-inference-steps", "1", "-o", (folder / "x.png").string()});
    const Finished done = vivace(words);
    EXPECT_EQ(done.code, 0) << done.err;
    return done.err;
  };
  const std::string three = draw({"a", "red", "apple", "--threads", "1"}), one = draw({"a red apple", "--threads", "1"});
  EXPECT_NE(three.find("3 prompts, a picture each"), std::string::npos) << three;
  EXPECT_EQ(one.find("prompts"), std::string::npos) << one;
  EXPECT_EQ(one.find("--threads"), std::string::npos) << one;
  const std::string more = std::to_string(std::thread::hardware_concurrency() + 1);
  EXPECT_NE(draw({"x", "--threads", more}).find("--threads is " + more + ", and this process may use "), std::string::npos);
  EXPECT_NE(draw({"x", "--cache-dir", "/proc/no_such_folder", "--cache-size", "1M"})
                .find("no cache: /proc/no_such_folder cannot be made or read; every start"),
            std::string::npos);
}

TEST(Generate, HintsOnceAtAFewStepModelWithManySteps) {
  const TempFolder folder;
  const std::filesystem::path plain = copy_tiny(folder), turbo = folder / "tiny-Turbo_v1";
  std::filesystem::copy(plain, turbo, std::filesystem::copy_options::recursive);
  const auto hints = [&](const std::filesystem::path& model, const char* output, const char* steps, const char* guidance) {
    const Finished done =
        vivace({"generate", "a dog", "--model", model.string(), "--num-inference-steps", steps, "--guidance-scale", guidance, "--scheduler-config",
                R"({"timestep_spacing": "trailing"})", "--seed", "7", "--threads", "1", "-o", (folder / output).string()});
    EXPECT_EQ(done.code, 0) << done.err;
    const size_t at = done.err.find("few-step");
    if (at != std::string::npos) {
      EXPECT_EQ(done.err.find("few-step", at + 1), std::string::npos) << done.err;
      EXPECT_NE(done.err.find("--num-inference-steps 1 to 4 --guidance-scale 0"), std::string::npos) << done.err;
    }
    return at != std::string::npos;
  };
  EXPECT_TRUE(hints(turbo, "turbo.npy", "13", "5"));
  EXPECT_FALSE(hints(plain, "plain.npy", "13", "5"));
  EXPECT_FALSE(hints(turbo, "x.npy", "2", "5"));
  EXPECT_FALSE(hints(turbo, "x.npy", "13", "0"));
  EXPECT_EQ(read_text(folder / "turbo.npy"), read_text(folder / "plain.npy"));
}

TEST(Generate, KnowsFewStepModelsByWholeWordsOfTheirNames) {
  const auto hint = [](const char* name, int steps = 50, const char* config = "{}") {
    return cli::few_steps_hint(std::vector<std::string>{"EulerDiscreteScheduler", name}, steps, 5, config);
  };
  for (const char* name : {"sdxl-turbo", "models--stabilityai--sdxl-turbo", "sdxl_lightning_4step_unet.safetensors",
                           "Hyper-SDXL-8steps-lora.safetensors:0.8", "pytorch_lora_weights_LCM", "LCMScheduler", "TCDScheduler", "FLUX.1-schnell",
                           "DreamShaperXL_turboDPMSDE", "juggernautXL_v9Rdphoto2Lightning"})
    EXPECT_NE(hint(name), "") << name;
  for (const char* name : {"sdxl-base-1.0", "hyperrealism-xl", "turbocharged", "FLUX.1-dev", "emoji-xl"}) EXPECT_EQ(hint(name), "") << name;
  constexpr const char *kLeading = R"({"timestep_spacing": "leading"})", *kTrailing = R"({"timestep_spacing": "trailing"})";
  for (const char* name : {"sdxl-turbo", "sdxl_lightning_4step_unet.safetensors", "Hyper-SDXL-8steps-lora.safetensors"}) {
    EXPECT_NE(hint(name, 4, kLeading).find(R"("leading": such models are made for --scheduler-config '{"timestep_spacing": "trailing"}')"),
              std::string::npos)
        << hint(name, 4, kLeading);
    EXPECT_EQ(hint(name, 4, kTrailing), "") << name;
  }
  for (const char* name : {"sdxl-base-1.0", "LCMScheduler", "TCDScheduler"}) EXPECT_EQ(hint(name, 4, kLeading), "") << name;
  EXPECT_NE(hint("sdxl-turbo", 50, kLeading).find(R"(--num-inference-steps 1 to 4 --guidance-scale 0 --scheduler-config '{"timestep_spacing")"),
            std::string::npos);
}

}  // namespace
}  // namespace vivace
