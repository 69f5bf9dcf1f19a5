// AutoencoderKLCogVideoX against Diffusers in fp32: whole videos, in its batches of frames, in tiles and in slices, eager and compiled.
#include "../temp_folder.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "components/autoencoder_kl_cogvideox.h"
#include "components/random_checkpoint.h"
#include "golden.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const std::string kVideoData = std::string(VIVACE_TEST_DATA) + "/video_vae";

std::vector<golden::Case> cases() {
  std::vector<golden::Case> all;
  for (const auto& item : golden::read_cases(kVideoData)) all.emplace_back(item);
  return all;
}

AutoencoderKLCogVideoX open_model(const TempFolder& folder, const nlohmann::json& config, const ModelOptions& options = {}) {
  const fs::path configs = folder / "configs";
  if (!fs::exists(configs)) {
    fs::create_directories(configs / "vae");
    write_file(configs / "vae" / "config.json", json_text(config));
    write_file(configs / "model_index.json", R"({"_class_name": "CogVideoXPipeline", "vae": ["diffusers", "AutoencoderKLCogVideoX"]})");
    make_random_checkpoint(configs, folder / "model", {});
  }
  return AutoencoderKLCogVideoX::from_pretrained(folder / "model" / "vae", options);
}

golden::Tensors run(AutoencoderKLCogVideoX& vae, const nlohmann::json& item) {
  if (item.contains("tiling")) {
    const auto& t = item.at("tiling");
    const auto given = [&]<class T>(const char* name, T) { return t.contains(name) ? std::optional(t.at(name).template get<T>()) : std::nullopt; };
    vae.enable_tiling(given("tile_sample_min_height", int64_t{}), given("tile_sample_min_width", int64_t{}),
                      given("tile_overlap_factor_height", double{}), given("tile_overlap_factor_width", double{}));
  }
  if (item.contains("slicing")) vae.enable_slicing();
  if (item.at("kind") == "vae_decode") return {{"sample", vae.decode(golden::make_input(item.at("inputs").at("latents")))}};
  const Autoencoder::Posterior p = vae.encode(golden::make_input(item.at("inputs").at("sample")));
  return {{"mean", p.mean}, {"logvar", p.logvar}};
}

class VideoVAE : public testing::TestWithParam<golden::Case> {};

TEST_P(VideoVAE, MatchesDiffusers) {
  const TempFolder folder;
  // Tiles of many sizes take a plan each, which is most of the time: they are compiled once.
  std::vector<CompileMode> modes{CompileMode::default_};
  if (!GetParam().contains("tiling")) modes.push_back(CompileMode::off);
  if (GetParam().at("name") == "wide_batch_decode") modes.push_back(CompileMode::max_autotune);
  for (const CompileMode mode : modes) {
    ModelOptions options;
    options.compile.mode = mode;
    options.compile.autotune_seconds = 0;
    AutoencoderKLCogVideoX vae = open_model(folder, GetParam().at("config"), options);
    const golden::Tensors got = run(vae, GetParam());
    // As of components_test: some thirty layers here, of up to a thousand terms each. Winograd's error is a few roundings more of each.
    const double tolerance = 5 * std::sqrt(30.0 * 1000) * 0x1p-24 * (mode == CompileMode::max_autotune ? 2 : 1);
    for (const auto& [name, value] : got)
      EXPECT_LT(golden::relative_error(GetParam().at("outputs").at(name), kVideoData, value), tolerance)
          << name << ", mode " << static_cast<int>(mode);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, VideoVAE, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

const nlohmann::json& tiny() {
  static const nlohmann::json config = cases().front().at("config");
  return config;
}

TEST(VideoVAEs, ComputeTheSameAfterOtherVideosAndOtherSizes) {
  const TempFolder folder;
  ModelOptions options;
  options.compile = {.mode = CompileMode::default_, .dynamic = true};
  AutoencoderKLCogVideoX vae = open_model(folder, tiny(), options), fresh = open_model(folder, tiny());
  for (const Shape& shape : {Shape{1, 4, 5, 3, 4}, {1, 4, 4, 2, 6}, {1, 4, 5, 3, 4}}) {
    const Tensor latents = Generator(7).randn(shape), wanted = fresh.decode(latents), got = vae.decode(latents);
    ASSERT_EQ(got.shape(), wanted.shape());
    for (int64_t i = 0; i < got.numel(); ++i) ASSERT_NEAR(got.floats()[i], wanted.floats()[i], 1e-4) << to_string(shape);
  }
}

// A width of 2 is built as 3 beside a batch of 1, which is built as 2; its inner 6 must not then become one symbol with a height of 6.
TEST(VideoVAEs, AreDynamicInAnyShape) {
  const TempFolder folder;
  ModelOptions options;
  options.compile = {.mode = CompileMode::default_, .dynamic = true};
  const AutoencoderKLCogVideoX fresh = open_model(folder, tiny());
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{6, 2}, {2, 6}, {4, 1}, {1, 1}}) {
    const Tensor latents = Generator(7).randn({1, 4, 5, height, width}), wanted = fresh.decode(latents);
    const Tensor got = open_model(folder, tiny(), options).decode(latents);
    for (int64_t i = 0; i < got.numel(); ++i) ASSERT_NEAR(got.floats()[i], wanted.floats()[i], 1e-4) << height << " x " << width;
  }
}

TEST(VideoVAEs, TellFramesAsSoonAsTheyAreThere) {
  const TempFolder folder;
  AutoencoderKLCogVideoX vae = open_model(folder, tiny());
  Request request;
  std::vector<std::pair<int64_t, int64_t>> told;
  std::vector<Tensor> parts;
  const Tensor video = static_cast<const AutoencoderKLCogVideoXComponent&>(vae.component())
                           .decode(Generator(7).randn({1, 4, 5, 2, 2}), request, [&](int64_t first, const Tensor& frames) {
                             told.emplace_back(first, frames.dim(2));
                             parts.push_back(frames);
                           });
  EXPECT_EQ(told, (std::vector<std::pair<int64_t, int64_t>>{{0, 9}, {9, 8}}));
  EXPECT_EQ(video.dim(2), 17);
  EXPECT_EQ(parts[1].floats()[0], video.floats()[9 * 16 * 16]);
}

TEST(VideoVAEs, ComputeInBfloat16) {
  const TempFolder folder;
  const Tensor latents = Generator(7).randn({1, 4, 3, 4, 4});
  const Tensor wanted = open_model(folder, tiny()).decode(latents);
  const Tensor got = open_model(folder, tiny(), {.dtype = DType::bfloat16, .compile = {.mode = CompileMode::default_}}).decode(latents);
  double difference = 0, size = 0;
  for (int64_t i = 0; i < got.numel(); ++i) {
    difference += std::pow(static_cast<double>(got.floats()[i]) - static_cast<double>(wanted.floats()[i]), 2);
    size += std::pow(static_cast<double>(wanted.floats()[i]), 2);
  }
  // Some thirty roundings of 2^-9 at random.
  EXPECT_LT(std::sqrt(difference / size), std::sqrt(30.) * 0x1p-8);
}

// The caches of frames are there once, though each is read and made anew in every batch.
TEST(VideoVAEs, UpdateStatesInPlace) {
  const TempFolder folder;
  AutoencoderKLCogVideoX vae = open_model(folder, tiny());
  const auto& component = static_cast<const AutoencoderKLCogVideoXComponent&>(vae.component());
  Request request;
  for (const GraphRequest& wanted : {component.decode_requests(5, 4, 4).at(1), component.encode_requests(17, 32, 32).at(1)}) {
    const SessionLease session = component.lease(wanted, request);
    const Plan& plan = session->plan();
    int states = 0;
    int64_t state_bytes = 0, handed_over = 0;
    for (const PlanPort& port : plan.inputs) {
      if (port.state.empty()) continue;
      ++states;
      state_bytes += plan.values[static_cast<size_t>(port.value)].type.bytes();
      const auto next = std::ranges::find(plan.outputs, port.state, &PlanPort::name);
      EXPECT_EQ(plan.values[static_cast<size_t>(next->value)].inside, port.value) << port.name;
    }
    // What they begin with is there beside them, and before that beside the session that leaves it.
    const MemoryNeed need = component.memory_need(std::span(&wanted, 1), request);
    EXPECT_EQ(need.activations, static_cast<int64_t>(session->arena_bytes() + session->workspace_bytes()));
    EXPECT_GE(need.beside, state_bytes);
    const GraphRequest first = (wanted.function == "decode" ? component.decode_requests(5, 4, 4) : component.encode_requests(17, 32, 32)).at(0);
    const SessionLease before = component.lease(first, request);
    for (const PlanPort& port : before->plan().outputs) handed_over += before->plan().values[static_cast<size_t>(port.value)].type.bytes();
    EXPECT_EQ(component.memory_need(std::span(&first, 1), request).beside, handed_over);
    EXPECT_GE(handed_over, state_bytes);
    EXPECT_EQ(states, wanted.function == "decode" ? 22 : 14);
  }
}

// As where memory is short.
TEST(VideoVAEs, WorkInTilesWhereARequestAsksForIt) {
  const TempFolder folder;
  AutoencoderKLCogVideoX vae = open_model(folder, tiny()), tiled = open_model(folder, tiny());
  tiled.enable_tiling(32, 32);
  static_cast<AutoencoderKLCogVideoXComponent&>(vae.component()).set_tiles(32, 32, {}, {});
  vae.disable_tiling();
  const auto& component = static_cast<const AutoencoderKLCogVideoXComponent&>(vae.component());
  Request request;
  request.vae_tiles = true;
  const Tensor latents = Generator(7).randn({1, 4, 4, 4, 6}), wanted = tiled.decode(latents), got = component.decode(latents, request);
  ASSERT_EQ(got.shape(), wanted.shape());
  EXPECT_TRUE(std::ranges::equal(got.floats(), wanted.floats()));
  std::vector<std::string> sessions;
  for (const GraphRequest& whole : component.decode_requests(4, 4, 6))
    for (const GraphRequest& tile : component.in_tiles(whole))
      sessions.push_back(cat(tile.function, tile.sizes.at("first") ? " first " : " next ", tile.sizes.at("frames"), " frames ",
                             tile.sizes.at("height"), 'x', tile.sizes.at("width")));
  EXPECT_EQ(sessions, (std::vector<std::string>{"decode first 2 frames 4x4", "decode first 2 frames 4x3", "decode first 2 frames 1x4",
                                                "decode first 2 frames 1x3", "decode next 2 frames 4x4", "decode next 2 frames 4x3",
                                                "decode next 2 frames 1x4", "decode next 2 frames 1x3"}));
}

TEST(VideoVAEs, SayWhatIsWrongWithACall) {
  const TempFolder folder;
  AutoencoderKLCogVideoX vae = open_model(folder, tiny());
  EXPECT_EQ(message_of<UsageError>([&] { vae.decode(Tensor::zeros({1, 4, 4, 4})); }), "latents has shape [1, 4, 4, 4]: expected [N, C, F, h, w]");
  EXPECT_EQ(message_of<UsageError>([&] {
              vae.decode(Tensor::zeros({1, 5, 1, 4, 4}));
            }),
            "latents has shape [1, 5, 1, 4, 4]: expected [N, 4, F, h, w], none of them 0");
  EXPECT_EQ(message_of<UsageError>([&] {
              vae.decode(Tensor::zeros({1, 4, 0, 4, 4}));
            }),
            "latents has shape [1, 4, 0, 4, 4]: expected [N, 4, F, h, w], none of them 0");
  EXPECT_EQ(message_of<UsageError>([&] {
              vae.encode(Tensor::zeros({1, 3, 1, 7, 8}));
            }),
            "sample has shape [1, 3, 1, 7, 8]: expected [N, 3, F, H, W] of at least 8 x 8 pixels");
  vae.enable_tiling(32, 32);  // every 26 rows and 25 columns
  const char* remainder =
      "a picture of 32 x 56 pixels (height, width) leaves the encoder a tile of 32 x 6, expected at least 8 x 8: choose another size, or no tiling";
  EXPECT_EQ(message_of<UsageError>([&] { vae.encode(Tensor::zeros({1, 3, 1, 32, 56})); }), remainder);
  const auto& component = static_cast<const AutoencoderKLCogVideoXComponent&>(vae.component());
  EXPECT_EQ(message_of<UsageError>([&] { component.encode_requests(1, 32, 56); }), remainder) << "before anything is encoded";
  vae.disable_tiling();
  // Where memory is short tiles are no must.
  EXPECT_EQ(component.in_tiles(component.encode_requests(1, 32, 56).at(0)).size(), 1u);
  Request tiled;
  tiled.vae_tiles = true;
  EXPECT_EQ(component.encode(Tensor::zeros({1, 3, 1, 32, 56}), tiled).mean.shape(), (Shape{1, 4, 1, 4, 7}));
  EXPECT_EQ(message_of<UsageError>([&] { vae.enable_tiling(8, 8); }),
            "tiles of 1 pixels a side cannot overlap: this VAE's sample_size is too small for tiling");
}

TEST(VideoVAEs, CutVideosIntoBatchesAsDiffusersDoes) {
  using Batches = std::vector<FrameBatch>;
  EXPECT_EQ(frame_batches(1, 2), (Batches{{0, 1}}));
  EXPECT_EQ(frame_batches(2, 2), (Batches{{0, 2}}));
  EXPECT_EQ(frame_batches(3, 2), (Batches{{0, 3}}));
  EXPECT_EQ(frame_batches(7, 2), (Batches{{0, 3}, {3, 5}, {5, 7}}));
  EXPECT_EQ(frame_batches(7, 8), (Batches{{0, 7}}));
  EXPECT_EQ(frame_batches(26, 8), (Batches{{0, 10}, {10, 18}, {18, 26}}));
}

}  // namespace
}  // namespace vivace
