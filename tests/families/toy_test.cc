// A family that the house does not know comes with one folder (toy/) and one line: what a checkpoint of it does is all of the rest's doing.
#include "families/toy/toy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "../devices/checking_device.h"
#include "base/files.h"
#include "base/json.h"
#include "families/common/guided_predictor.h"
#include "pipelines/denoise_loop.h"
#include "pipelines/loaded.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

constexpr int64_t kChannels = 3;

class Toy : public DiffusionPipeline {
 public:
  explicit Toy(const std::filesystem::path& path, const PretrainedOptions& options = {}) : DiffusionPipeline(load(path, options)) {}

 private:
  static std::unique_ptr<Loaded> load(const std::filesystem::path& path, const PretrainedOptions& options) {
    static const std::vector<Family> with_toy{toy_family()};
    return load_pipeline(path, options, false, with_toy);
  }
};

struct ToyWeights {
  Tensor weight = Generator(1).randn({kChannels, kChannels}), bias = Generator(2).randn({kChannels});
};

void write_toy(const std::filesystem::path& model) {
  std::filesystem::create_directories(model / "denoiser");
  std::filesystem::create_directories(model / "scheduler");
  const nlohmann::json index{
      {"_class_name", "ToyVideoPipeline"}, {"denoiser", {"toys", "ToyDenoiser"}}, {"scheduler", {"diffusers", "EulerDiscreteScheduler"}}};
  write_file(model / "model_index.json", json_text(index));
  write_file(model / "denoiser/config.json", json_text(nlohmann::json{{"channels", kChannels}}));
  write_file(model / "scheduler/scheduler_config.json", "{\"_class_name\": \"EulerDiscreteScheduler\"}");
  const ToyWeights w;
  write_safetensors(model / "denoiser/diffusion_pytorch_model.safetensors",
                    {{"weight", DType::float32, w.weight.shape()}, {"bias", DType::float32, w.bias.shape()}}, {},
                    [&](size_t i) { return i == 0 ? w.weight : w.bias; });
}

// The same in double precision, a value at a time.
std::vector<double> by_hand(const Shape& shape, uint64_t seed, int steps, double hint) {
  const ToyWeights w;
  auto scheduler = make_scheduler("euler");
  scheduler->set_timesteps(steps);
  const Tensor noise = Generator(seed).randn(shape);
  std::vector<double> x(noise.floats().begin(), noise.floats().end()), memory(x.size());
  for (double& v : x) v *= scheduler->init_noise_sigma();
  const int64_t pixels = noise.numel() / shape[0] / kChannels;
  for (int step = 0; step < steps; ++step) {
    const double scale = scheduler->input_scale(step), t = scheduler->timesteps()[static_cast<size_t>(step)];
    const double sigma = scheduler->sigmas()[static_cast<size_t>(step)], next = scheduler->sigmas()[static_cast<size_t>(step) + 1];
    std::vector<double> prediction(x.size());
    for (int64_t n = 0; n < shape[0]; ++n)
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t o = 0; o < kChannels; ++o) {
          const auto at = [&](int64_t c) { return static_cast<size_t>((n * kChannels + c) * pixels + p); };
          double sum = w.bias.floats()[o];
          for (int64_t c = 0; c < kChannels; ++c) sum += w.weight.floats()[o * kChannels + c] * (x[at(c)] * scale + hint + t * 1e-3);
          prediction[at(o)] = sum + memory[at(o)];
        }
    for (size_t i = 0; i < x.size(); ++i) {
      memory[i] = 0.5 * memory[i] + x[i] * scale;
      x[i] += prediction[i] * (next - sigma);
    }
  }
  return x;
}

void expect_by_hand(Toy& pipe, const std::string& prompt, int64_t side, int images) {
  const PipelineOutput out = pipe(prompt, {.height = side, .width = side, .num_inference_steps = 4, .num_images_per_prompt = images, .seed = 9});
  const std::vector<double> want = by_hand({images, kChannels, 2, side, side}, 9, 4, static_cast<double>(prompt.size()));
  ASSERT_EQ(out.latents.shape(), (Shape{images, kChannels, 2, side, side}));
  ASSERT_EQ(out.images.size(), static_cast<size_t>(images));
  double largest = 0;
  for (const double v : want) largest = std::max(largest, std::abs(v));
  // A step rounds about ten times, and an error grows by no more than the norm of the weights.
  for (int64_t i = 0; i < out.latents.numel(); ++i)
    ASSERT_NEAR(out.latents.floats()[i], want[static_cast<size_t>(i)], 4 * 100 * 0x1p-24 * largest) << i;
  EXPECT_EQ(out.counters.loop_allocations, 0);
}

TEST(ToyFamily, DrawsWhatItsFormulasSay) {
  const TempFolder folder;
  write_toy(folder.path());
  for (const CompileMode mode : {CompileMode::off, CompileMode::default_}) {
    Toy pipe(folder.path(), {.compile = {.mode = mode}});
    EXPECT_EQ(pipe.class_name(), "ToyVideoPipeline");
    EXPECT_EQ(pipe.models(), std::vector<std::string>{"denoiser"});
    expect_by_hand(pipe, "four", 4, 1);
    expect_by_hand(pipe, "four and more", 4, 2);
    // The memory of a run is not that of the one before.
    expect_by_hand(pipe, "four", 4, 1);
  }
}

TEST(ToyFamily, HasWhatAllFamiliesHave) {
  const TempFolder folder;
  write_toy(folder.path());
  Toy pipe(folder.path(), {.compile = {.mode = CompileMode::default_, .dynamic = true}});
  expect_by_hand(pipe, "four", 4, 1);
  expect_by_hand(pipe, "four", 6, 1);  // resized
  pipe.compile({});
  expect_by_hand(pipe, "four", 6, 1);
  EXPECT_THROW(pipe("four", {.guidance_scale = 3.0}), UsageError) << "it takes none";
  EXPECT_THROW(pipe.vae(), UsageError);
  EXPECT_THROW(DiffusionPipeline::from_pretrained(folder.path()), UserError) << "the house's own list does not have it";
}

// What guidance makes of two prompts, as one batch or one after the other.
TEST(GuidedPredictor, HalvesInTurnAndAloneAgree) {
  const TempFolder folder;
  write_toy(folder.path());
  Toy one(folder.path()), two(folder.path()), three(folder.path());  // a session each
  Request request;
  const auto lease = [&](std::vector<SessionLease>& to, Toy& pipe, const Prompts& prompts) {
    const Recipe& recipe = *pipe.loaded().recipe;
    const SessionNeed need = recipe.sessions_for(recipe.resolve(prompts, {}))[0];
    to.push_back(pipe.model("denoiser").component().lease(need.request, request));
  };
  const auto session = [&](Toy& pipe, const Prompts& prompts) {
    std::vector<SessionLease> one;
    lease(one, pipe, prompts);
    return one;
  };
  const auto hint = [](float value) { return Tensor::full({1, kChannels}, value); };
  const Tensor memory = Tensor::zeros({1, 2, 4, 4, kChannels}), latents = Generator(4).randn({1, kChannels, 2, 4, 4});
  const Conditioning both{.positive = {{"hint", hint(4)}, {"memory", memory}}, .negative = {{"hint", hint(1)}}};
  constexpr float kTimesteps[] = {500.f};
  const auto predict = [&](std::vector<SessionLease> sessions, const Conditioning& conditioning, Guidance guidance, float rescale) {
    GuidedPredictor predictor(std::move(sessions), conditioning, kTimesteps,
                              {.name = "denoiser", .guidance = guidance, .scale = 3, .rescale = rescale, .steps = 1, .output = "prediction"},
                              request);
    Tensor prediction(latents.shape(), DType::float32);
    predictor.predict(0, 500, 0.5f, latents, prediction);
    return prediction;
  };
  const Tensor positive = predict(session(one, "x"), {.positive = {{"hint", hint(4)}, {"memory", memory}}, .negative = {}}, Guidance::none, 0);
  const Tensor negative = predict(session(one, "x"), {.positive = {{"hint", hint(1)}, {"memory", memory}}, .negative = {}}, Guidance::none, 0);
  for (const float rescale : {0.f, 0.7f}) {
    const Tensor halves = predict(session(one, {"x", "y"}), both, Guidance::halves, rescale);
    std::vector<SessionLease> each = session(two, "x");
    lease(each, three, "x");
    const Tensor in_turn = predict(std::move(each), both, Guidance::in_turn, rescale),
                 alternating = predict(session(one, "x"), both, Guidance::in_turn, rescale);
    for (int64_t i = 0; i < halves.numel(); ++i) {
      ASSERT_EQ(halves.floats()[i], in_turn.floats()[i]) << i;
      ASSERT_EQ(halves.floats()[i], alternating.floats()[i]) << i;
      if (rescale == 0) {
        ASSERT_EQ(halves.floats()[i], negative.floats()[i] + 3.f * (positive.floats()[i] - negative.floats()[i])) << i;
      }
    }
  }
}

// A model with a state has a session for each prompt; a device runs both in one loop.
TEST(GuidedPredictor, TwoSessionsAreInOneLoop) {
  add_checking_devices();
  const TempFolder folder;
  write_toy(folder.path());
  const Shape shape{1, kChannels, 2, 4, 4};
  const auto draw = [&](const std::string& device) {
    Toy negative(folder.path(), {.device = device}), positive(folder.path(), {.device = device});
    Request request;
    std::vector<SessionLease> sessions;
    for (Toy* pipe : {&negative, &positive}) {
      const Recipe& recipe = *pipe->loaded().recipe;
      sessions.push_back(pipe->model("denoiser").component().lease(recipe.sessions_for(recipe.resolve("x", {}))[0].request, request));
    }
    const auto hint = [](float value) { return Tensor::full({1, kChannels}, value); };
    const Conditioning both{.positive = {{"hint", hint(4)}, {"memory", Tensor::zeros({1, 2, 4, 4, kChannels})}}, .negative = {{"hint", hint(1)}}};
    const auto scheduler = make_scheduler("euler");
    scheduler->set_timesteps(4);
    GuidedPredictor predictor(std::move(sessions), both, scheduler->timesteps(),
                              {.name = "denoiser", .guidance = Guidance::in_turn, .scale = 3, .rescale = 0.7f, .steps = 4, .output = "prediction"},
                              request);
    const DenoiseResult result = denoise({.predictor = &predictor,
                                          .request = &request,
                                          .scheduler = scheduler.get(),
                                          .first_step = 0,
                                          .last_step = 4,
                                          .latents = Generator(4).randn(shape),
                                          .generators = {},
                                          .kept = {},
                                          .on_step_end = nullptr});
    EXPECT_EQ(result.loop_break, "");
    EXPECT_EQ(result.host_device_syncs, 0);
    return result.latents;
  };
  const Tensor want = draw("cpu"), got = draw("checking");
  ASSERT_EQ(got.shape(), shape);
  EXPECT_EQ(std::memcmp(want.data(), got.data(), want.bytes()), 0);
}

}  // namespace
}  // namespace vivace
