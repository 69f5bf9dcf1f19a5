#include "families/toy/toy.h"

#include <algorithm>

#include "base/json.h"
#include "families/common/arguments.h"
#include "families/common/guided_predictor.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int64_t kSide = 4;  // of a picture, if none is asked for

struct ToyShape {
  int64_t batch = 1, frames = 1, height = kSide, width = kSide;
};

// sample [N, F, H, W, C], timestep [1], hint [N, C] once a prompt -> sample = linear(sample + hint) + memory; memory <- 0.5 * memory + sample.
Graph build_toy(int64_t channels, const ToyShape& s, Builder b) {
  const Shape shape{s.batch, s.frames, s.height, s.width, channels};
  const Value sample = b.input("sample", b.dtype(), shape, Phase::step, "batch,frames,height,width,_");
  const Value memory = b.input("memory", b.dtype(), shape, Phase::step, "batch,frames,height,width,_");
  const Value hint = b.input("hint", b.dtype(), {s.batch, channels}, Phase::setup, "batch,_");
  const Value t = b.input("timestep", DType::float32, {1}, Phase::step);
  const Value x = b.add(b.add(sample, b.reshape(hint, {-1, 1, 1, 1, channels})), b.cast(b.affine(t, 1e-3, 0), b.dtype()));
  const Value y = b.add(b.emit(Op::linear, {x, b.weight("weight", {channels, channels}), b.weight("bias", {channels})}), memory);
  b.output("prediction", y);
  b.state(memory, "memory_after", b.add(b.affine(memory, 0.5, 0), sample));
  return b.take();
}

GraphRequest toy_request(int64_t channels, const ToyShape& shape, DType dtype) {
  return {.function = "toy",
          .dtype = dtype,
          .sizes = {{"batch", shape.batch}, {"frames", shape.frames}, {"height", shape.height}, {"width", shape.width}},
          .granularity = {},
          .build = [channels](const Sizes& s, Builder b) {
            return build_toy(channels, {s.at("batch"), s.at("frames"), s.at("height"), s.at("width")}, std::move(b));
          }};
}

int64_t channels_of(const Config& config) { return config.get<int64_t>("channels"); }

class ToyDenoiser : public Component {
 public:
  ToyDenoiser(const std::filesystem::path& folder, const ComponentOptions& options)
      : Component(folder, options), channels_(channels_of(Config::read(folder / "config.json"))) {
    set_typical(request({}));
    check_weights([&] { return std::vector{graph(request({}))}; });
  }
  GraphRequest request(const ToyShape& shape) const { return toy_request(channels_, shape, dtype()); }
  int64_t channels() const { return channels_; }

 private:
  int64_t channels_;
};

class ToyRecipe : public Recipe {
 public:
  explicit ToyRecipe(const Parts& parts) : parts_(parts), denoiser_(parts.component<ToyDenoiser>("denoiser")) {}

  Size default_size() const override { return {kSide, kSide}; }
  Call resolve(const Prompts& prompt, const CallOptions& options) const override {
    check_taken(options, parts_.class_name, {});
    return resolve_common(prompt, options, static_cast<int64_t>(prompt.size()), default_size(), 1);
  }
  std::vector<SessionNeed> sessions_for(const Call& call) const override { return {{"denoiser", denoiser_.request(shape(call)), Stage::denoise}}; }
  SchedulerTimesteps timesteps(const Call& call) const override { return {.num_inference_steps = call.options.num_inference_steps.value_or(3)}; }
  Conditioning encode(const Call& call, Request&) const override {
    Tensor hint({call.images, denoiser_.channels()}, DType::float32);
    for (int64_t n = 0; n < call.images; ++n)
      std::fill_n(hint.as<float>() + n * denoiser_.channels(), denoiser_.channels(),
                  static_cast<float>(call.prompt[static_cast<size_t>(n / call.options.num_images_per_prompt)].size()));
    const ToyShape s = shape(call);
    return {.positive = {{"hint", hint}, {"memory", Tensor::zeros({s.batch, s.frames, s.height, s.width, denoiser_.channels()})}}, .negative = {}};
  }
  Tensor latents(const Call& call, const Conditioning&, const Scheduler& scheduler, int, Noise& noise) const override {
    const ToyShape s = shape(call);
    return initial_latents(call.options, {s.batch, denoiser_.channels(), s.frames, s.height, s.width}, scheduler, noise);
  }
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override {
    std::vector<SessionLease> sessions;
    sessions.push_back(denoiser_.lease(sessions_for(call)[0].request, request));
    return std::make_unique<GuidedPredictor>(
        std::move(sessions), conditioning, scheduler.timesteps(),
        GuidedPredictorOptions{.name = "denoiser", .steps = static_cast<int>(call.timesteps), .output = "prediction"}, request);
  }
  // The first frame.
  Pictures decode(const Call& call, const Tensor& latents, Request&) const override {
    const ToyShape s = shape(call);
    const int64_t plane = s.height * s.width;
    std::vector<Image> images;
    for (int64_t n = 0; n < s.batch; ++n) {
      Tensor picture({s.height, s.width, 3}, DType::float32);
      for (int64_t i = 0; i < picture.numel(); ++i)
        picture.floats()[i] = std::clamp(latents.floats()[(n * denoiser_.channels() + i % 3) * s.frames * plane + i / 3], 0.f, 1.f);
      images.push_back(Image::from_tensor(picture));
    }
    return {.images = images, .frames = {}};
  }

 private:
  static constexpr int64_t kFrames = 2;
  ToyShape shape(const Call& call) const { return {call.images, kFrames, call.height, call.width}; }

  const Parts& parts_;
  ToyDenoiser& denoiser_;
};

}  // namespace

Family toy_family() {
  return {.class_name = "ToyVideoPipeline",
          .parts = {{"denoiser", {"ToyDenoiser"}, false, true}, {"scheduler", {}}},
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> { return std::make_unique<ToyRecipe>(parts); },
          .models = {{.name = "ToyDenoiser",
                      .weights = "diffusion_pytorch_model",
                      .open = [](const std::filesystem::path& folder,
                                 const ComponentOptions& options) { return std::make_unique<Model>(std::make_unique<ToyDenoiser>(folder, options)); },
                      .graphs = [](const Config& config) { return std::vector{build_toy(channels_of(config), {}, Builder(DType::float32))}; }}}};
}

}  // namespace vivace
