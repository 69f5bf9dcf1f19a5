// Adapters: pictures against Diffusers with peft (tools/golden/lora.py), swapping, and what is said of files that do not match.
#include <cmath>
#include <cstring>
#include <limits>

#include "base/files.h"
#include "base/log.h"
#include "checkpoint.h"
#include "components/component.h"
#include "lora_case.h"
#include "pipelines/loaded.h"
#include "runtime/request.h"
#include "vivace/error.h"
#include "vivace/export.h"

namespace vivace {
namespace {

class LoraPictures : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const TempFolder folder;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(GetParam(), folder.path()), {.compile = {.mode = mode}});
    load_loras(pipe, GetParam(), folder);
    expect_latents(pipe, GetParam());
  }
};

TEST_P(LoraPictures, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(LoraPictures, CompiledMatchesDiffusers) { check(CompileMode::default_); }

INSTANTIATE_TEST_SUITE_P(Golden, LoraPictures, testing::ValuesIn(lora_cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

class Swapping : public testing::Test {
 protected:
  void SetUp() override {
    const auto& item = lora_case("two_negative");
    model_ = checkpoint(item, folder_.path());
    write_lora(item.at("loras").at(0), folder_ / "first.safetensors");
    write_lora(item.at("loras").at(1), folder_ / "second.safetensors");
  }
  DiffusionPipeline open(PretrainedOptions options = {}) {
    options.compile.mode = CompileMode::default_;
    return DiffusionPipeline::from_pretrained(model_, options);
  }
  PipelineOutput run(DiffusionPipeline& pipe) {
    CallOptions call = call_options(lora_case("two_negative").at("call"));
    call.output_latent = true;
    return pipe("a red apple", call);
  }
  // What a call made the process do.
  RequestCounters counted(DiffusionPipeline& pipe) {
    const RequestCounters before = process_counters();
    run(pipe);
    RequestCounters made = process_counters();
    made.plans_compiled -= before.plans_compiled;
    made.constants_prepared -= before.constants_prepared;
    return made;
  }
  static bool same(const PipelineOutput& a, const PipelineOutput& b) {
    return std::memcmp(a.latents.data(), b.latents.data(), a.latents.bytes()) == 0;
  }

  TempFolder folder_;
  fs::path model_;
};

TEST_F(Swapping, UnloadingGivesTheFirstPictureBack) {
  DiffusionPipeline pipe = open();
  const PipelineOutput plain = run(pipe);
  pipe.load_lora_weights(folder_ / "first.safetensors", "first");
  const PipelineOutput with = run(pipe);
  EXPECT_FALSE(same(with, plain));
  EXPECT_EQ(pipe.get_active_adapters(), std::vector<std::string>{"first"});
  pipe.set_adapters({});
  EXPECT_TRUE(same(run(pipe), plain));
  pipe.set_adapters({"first"});
  EXPECT_TRUE(same(run(pipe), with));
  pipe.load_lora_weights(folder_ / "second.safetensors");
  EXPECT_EQ(pipe.get_active_adapters(), std::vector<std::string>{"default_0"}) << "as in Diffusers";
  pipe.delete_adapters({"default_0"});
  EXPECT_TRUE(same(run(pipe), plain));
  pipe.unload_lora_weights();
  EXPECT_TRUE(pipe.get_active_adapters().empty());
  EXPECT_TRUE(same(run(pipe), plain));
}

TEST_F(Swapping, APackageHoldsWhatIsMerged) {
  DiffusionPipeline pipe = open();
  const PipelineOutput plain = run(pipe);  // whose plans are not the package's
  pipe.load_lora_weights(folder_ / "first.safetensors");
  const PipelineOutput with = run(pipe);
  export_package(pipe, folder_ / "merged.vivace");
  DiffusionPipeline packaged = DiffusionPipeline::from_pretrained(folder_ / "merged.vivace");
  const RequestCounters counters = counted(packaged);
  EXPECT_EQ(counters.plans_compiled, 0);
  EXPECT_EQ(counters.constants_prepared, 0);
  EXPECT_TRUE(same(run(packaged), with));
  EXPECT_FALSE(same(plain, with));
}

TEST_F(Swapping, AnotherStrengthCompilesNothingAndPreparesWhatItTouches) {
  DiffusionPipeline pipe = open();
  const auto bytes = [&] { return pipe.unet().component().constant_bytes(); };
  const RequestCounters plain = counted(pipe);
  const size_t plain_bytes = bytes();
  pipe.load_lora_weights(folder_ / "second.safetensors", "second");  // kohya's, of some linear layers
  const RequestCounters loaded = counted(pipe);
  EXPECT_EQ(loaded.plans_compiled, 3) << "unet and both text encoders";
  const size_t loaded_bytes = bytes();
  pipe.set_adapters({"second"}, {0.5});
  const RequestCounters swapped = counted(pipe);
  EXPECT_EQ(swapped.plans_compiled, 0);
  EXPECT_GT(swapped.constants_prepared, 0);
  EXPECT_LE(swapped.constants_prepared, loaded.constants_prepared);
  EXPECT_EQ(bytes(), loaded_bytes) << "what nobody reads has gone";
  EXPECT_EQ(counted(pipe).constants_prepared, 0);
  pipe.set_adapters({});
  const RequestCounters unloaded = counted(pipe);
  EXPECT_EQ(unloaded.plans_compiled, 0);
  EXPECT_GT(unloaded.constants_prepared, 0);
  EXPECT_LT(unloaded.constants_prepared, plain.constants_prepared) << "what no adapter touches has stayed";
  EXPECT_EQ(bytes(), plain_bytes);
  pipe.set_adapters({"second"}, {0.5});
  // As if it had been loaded so.
  DiffusionPipeline other = open();
  other.load_lora_weights(folder_ / "second.safetensors", "second");
  other.set_adapters({"second"}, {0.5});
  EXPECT_TRUE(same(run(other), run(pipe)));
}

TEST_F(Swapping, HotSwappingCompilesNothing) {
  DiffusionPipeline pipe = open(), other = open();
  EXPECT_THROW(pipe.load_lora_weights(folder_ / "first.safetensors", "a", true), UsageError);
  pipe.enable_lora_hotswap(8);
  pipe.load_lora_weights(folder_ / "second.safetensors", "a");
  run(pipe);
  EXPECT_THROW(pipe.enable_lora_hotswap(8), UsageError);
  // Of other ranks, and of fewer modules.
  nlohmann::json lora = lora_case("two_negative").at("loras").at(1);
  nlohmann::json fewer{{"tensors", nlohmann::json::object()}, {"alphas", nlohmann::json::object()}, {"seed", 5}};
  for (const auto& [name, shape] : lora.at("tensors").items())
    if (name.find("attn1") != name.npos) fewer["tensors"][name] = shape;
  write_lora(fewer, folder_ / "fewer.safetensors");
  pipe.load_lora_weights(folder_ / "fewer.safetensors", "a", true);
  const RequestCounters swapped = counted(pipe);
  EXPECT_EQ(swapped.plans_compiled, 0);
  EXPECT_GT(swapped.constants_prepared, 0);
  EXPECT_EQ(pipe.get_active_adapters(), std::vector<std::string>{"a"});
  other.load_lora_weights(folder_ / "fewer.safetensors");
  EXPECT_LT(relative_rms(run(pipe).latents, run(other).latents), 1e-5) << "zeros add nothing; sums of products have another order";
  write_lora(lora_case("kohya_convolutions").at("loras").at(0), folder_ / "convolutions.safetensors");
  EXPECT_NE(message_of<UserError>([&] {
              pipe.load_lora_weights(folder_ / "convolutions.safetensors", "a", true);
            }).find("for which the adapter that it replaces has nothing"),
            std::string::npos);
  nlohmann::json wide = fewer;
  for (const auto& entry : fewer.at("tensors").items()) wide["tensors"][entry.key()][entry.key().ends_with("down.weight") ? 0 : 1] = 9;
  write_lora(wide, folder_ / "wide.safetensors");
  EXPECT_NE(message_of<UserError>([&] {
              pipe.load_lora_weights(folder_ / "wide.safetensors", "a", true);
            }).find("have rank 9: enable_lora_hotswap was called with 8"),
            std::string::npos);
}

TEST_F(Swapping, FusedAdaptersStayUntilUnfused) {
  DiffusionPipeline pipe = open();
  const PipelineOutput plain = run(pipe);
  EXPECT_THROW(pipe.fuse_lora(), UsageError);
  pipe.load_lora_weights(folder_ / "first.safetensors", "first");
  pipe.set_adapters({"first"}, {0.5});
  const PipelineOutput half = run(pipe);
  pipe.set_adapters({"first"});
  pipe.fuse_lora(0.5);
  EXPECT_TRUE(same(run(pipe), half));
  pipe.set_adapters({});
  EXPECT_TRUE(same(run(pipe), half));
  pipe.unfuse_lora();
  EXPECT_TRUE(same(run(pipe), plain));
  pipe.fuse_lora(0.5, {"first"});
  pipe.unload_lora_weights();
  EXPECT_TRUE(pipe.get_list_adapters().empty());
  EXPECT_TRUE(same(run(pipe), half));
  pipe.load_lora_weights(folder_ / "second.safetensors");
  EXPECT_FALSE(same(run(pipe), half));
}

TEST_F(Swapping, AdaptersAreNeverKeptAsTheCheckpoints) {
  const TempFolder cache;
  const PretrainedOptions options{.cache = {.folder = cache.path(), .max_bytes = 1'000'000'000}};
  DiffusionPipeline uncached = open();
  const PipelineOutput plain = run(uncached);
  uncached.load_lora_weights(folder_ / "second.safetensors");
  const PipelineOutput with = run(uncached);
  for (int start = 0; start < 2; ++start) {
    DiffusionPipeline pipe = open(options);
    pipe.load_lora_weights(folder_ / "second.safetensors");
    const RequestCounters first = counted(pipe);
    EXPECT_TRUE(same(run(pipe), with));
    if (start == 1) {
      EXPECT_EQ(first.plans_compiled, 0);
      EXPECT_GT(first.constants_prepared, 0) << "merged anew";
    }
    pipe.unload_lora_weights();
    EXPECT_TRUE(same(run(pipe), plain));
  }
}

TEST_F(Swapping, MergedWeightsAreQuantisedAfterwards) {
  // As a checkpoint whose weights hold the LoRA.
  const auto error = [&](bool quantised) {
    DiffusionPipeline merged = open(), exact = open();
    for (DiffusionPipeline* pipe : {&merged, &exact}) pipe->load_lora_weights(folder_ / "first.safetensors", "first");
    if (quantised) apply_dynamic_quant(merged.unet(), quantize_all);
    return relative_rms(run(merged).latents, run(exact).latents);
  };
  EXPECT_EQ(error(false), 0);
  const double without = [&] {
    DiffusionPipeline merged = open(), exact = open();
    apply_dynamic_quant(merged.unet(), quantize_all);
    return relative_rms(run(merged).latents, run(exact).latents);
  }();
  EXPECT_GT(error(true), 0);
  EXPECT_LT(error(true), 3 * without) << "8 bits of the sum are as good as those of any other weight";
}

TEST_F(Swapping, NamesAndFilesThatDoNotMatchAreSaid) {
  DiffusionPipeline pipe = open();
  pipe.load_lora_weights(folder_ / "first.safetensors");
  EXPECT_NE(message_of<UsageError>([&] { pipe.load_lora_weights(folder_ / "second.safetensors", "default_0"); }).find("is loaded already"),
            std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] { pipe.set_adapters({"style"}); }).find("there is no adapter \"style\": expected one of default_0"),
            std::string::npos);
  EXPECT_THROW(pipe.set_adapters({"default_0"}, {1, 2}), UsageError);
  EXPECT_THROW(pipe.set_adapters({"default_0"}, {std::numeric_limits<double>::quiet_NaN()}), UsageError);
  EXPECT_THROW(pipe.delete_adapters({"style"}), UsageError);
  const auto written = [&](const nlohmann::json& tensors) {
    write_lora({{"tensors", tensors}, {"alphas", nlohmann::json::object()}, {"seed", 1}}, folder_ / "other.safetensors");
    return folder_ / "other.safetensors";
  };
  const auto refused = [&](const nlohmann::json& tensors) {
    return message_of<UserError>([&] { pipe.load_lora_weights(written(tensors), "other"); });
  };
  const auto expect = [](const std::string& message, const char* part) { EXPECT_NE(message.find(part), std::string::npos) << message; };
  const std::string q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
  expect(refused({{"transformer.x.lora_A.weight", {4, 8}}, {"transformer.x.lora_B.weight", {8, 4}}}),
         "none of its 2 tensors is for a module of this StableDiffusionXLPipeline: transformer.x.lora_A.weight, transformer.x.lora_B.weight; check "
         "which model it was made for");
  expect(refused({{"UNET.MID_BLOCK.X.LORA_A.WEIGHT", {4, 8}}}), "none of its 1 tensors");
  expect(refused({{"unet.mid_block.x.lora_B.bias", {8}}}), "tensor \"unet.mid_block.x.lora_B.bias\" is a bias (peft's lora_bias)");
  expect(refused({{q + ".lora_A.weight", {4, 60}}, {q + ".lora_B.weight", {64, 4}}}),
         "lora_B.weight\" [64, 4] and \"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight\" [4, 60] do not fit unet's "
         "mid_block.attentions.0.transformer_blocks.0.attn1.to_q [64, 64]: the file is for another model");
  expect(refused({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 3}}}), "do not fit each other");
  expect(refused({{q + ".lora_A.weight", {0, 64}}, {q + ".lora_B.weight", {64, 0}}}),
         "lora_B.weight\" is [64, 0]: expected a matrix with a rank of 1 or more");
  expect(refused({{q + ".lora_A.weight", {4, 64}}}), "without \"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight\"");
  expect(refused({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 4}}, {q + ".alpha", {2}}}), ".alpha\" is [2]: expected one number");
  expect(refused({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 4}}, {q + ".lora_magnitude_vector", {5}}}),
         "expected a number for each of 64 rows");
  // Of columns, as LyCORIS writes it unless told otherwise, where the layer is square.
  expect(refused({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 4}}, {q + ".dora_scale", {1, 64}}}),
         "expected a number for each of 64 rows, [64] or [64, 1]");
  expect(refused({{q + ".hada_w1_a", {64, 4}},
                  {q + ".hada_w1_b", {4, 64}},
                  {q + ".hada_w2_a", {64, 4}},
                  {q + ".hada_w2_b", {4, 64}},
                  {q + ".hada_t1", {4, 4, 3, 3}}}),
         "there is \"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.hada_t1\" without");
  expect(refused({{q + ".lora_up.weight", {64, 4}}, {q + ".lora_down.weight", {4, 64}}, {q + ".lora_mid.weight", {4, 5, 3, 3}}}),
         "lora_mid.weight\" [4, 5, 3, 3] do not fit each other");
  expect(refused({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 4}}, {q + ".alpha", {0}}}), ".alpha\" is [0]: expected one number");
  write_safetensors(folder_ / "nan.safetensors", {{q + ".lora_A.weight", float32, {1}}}, {}, [](size_t) { return Tensor::from({NAN}); });
  expect(message_of<UserError>([&] { pipe.load_lora_weights(folder_ / "nan.safetensors"); }), "1 tensors hold a NaN or infinity");
  write_file(folder_ / "style.pt", "PK\x03\x04 and so on");
  expect(message_of<UserError>([&] { pipe.load_lora_weights(folder_ / "style.pt"); }),
         "style.pt: expected a .safetensors file: other formats can hold programs");
  expect(message_of<UserError>([&] { pipe.load_lora_weights(folder_ / "gone.safetensors"); }), "gone.safetensors: file not found");
  expect(message_of<UserError>([&] { pipe.load_lora_weights(folder_.path()); }), "pytorch_lora_weights.safetensors");
  EXPECT_EQ(pipe.get_list_adapters(), std::vector<std::string>{"default_0"}) << "what was refused has left nothing behind";
  // A part of which is for something else: warnings with the names.
  std::string warned;
  set_log_sink([&](LogLevel, const std::string& text) { warned += text + '\n'; });
  pipe.load_lora_weights(
      written({{q + ".lora_A.weight", {4, 64}}, {q + ".lora_B.weight", {64, 4}}, {"transformer.x.lora_A.weight", {4, 8}}, {"betas", {3}}}), "mixed");
  set_log_sink(nullptr);
  expect(warned, "1 of 4 tensors are for no module of this model and left out: transformer.x.lora_A.weight");
  expect(warned, "1 of 4 tensors are no adapter's and not used: betas");
}

const std::string kTokenData = kData + "/textual_inversion";

std::vector<golden::Case> token_cases() {
  std::vector<golden::Case> result;
  for (const auto& item : golden::read_cases(kTokenData)) result.push_back(item);
  return result;
}

// A file of embeddings by the rule of random weights.
void write_embeddings(const fs::path& path, const nlohmann::json& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, shape] : tensors.items()) specs.push_back({name, DType::float32, shape.get<Shape>()});
  write_safetensors(path, specs, {}, [&](size_t i) { return random_weight(specs[i].name, specs[i].shape, 1); });
}

class TextualInversion : public testing::TestWithParam<golden::Case> {};

TEST_P(TextualInversion, MatchesDiffusersAndIsUnloaded) {
  const nlohmann::json& item = GetParam();
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(checkpoint(item, folder.path()), {.compile = {.mode = CompileMode::default_}});
  CallOptions call = call_options(item.at("call"));
  call.output_latent = true;
  const Prompts prompt = prompts(item.at("call").at("prompt"));
  const PipelineOutput plain = pipe(prompt, call);
  for (const auto& file : item.at("files")) {
    const fs::path path = folder / file.at("file").get<std::string>();
    write_embeddings(path, file.at("tensors"));
    pipe.load_textual_inversion(path, file.at("token"));
  }
  EXPECT_NE(message_of<UserError>([&] { export_package(pipe, folder / "tokens.vivace"); }).find("textual inversions are loaded"), std::string::npos)
      << "a package's tokenizers would not know the tokens";
  const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24 * 3 * std::sqrt(2.0);
  EXPECT_LT(golden::relative_error(item.at("outputs").at("latents"), kTokenData, pipe(prompt, call).latents), tolerance);
  pipe.unload_textual_inversion();
  const PipelineOutput after = pipe(prompt, call);
  EXPECT_EQ(std::memcmp(after.latents.data(), plain.latents.data(), plain.latents.bytes()), 0);
}

INSTANTIATE_TEST_SUITE_P(Golden, TextualInversion, testing::ValuesIn(token_cases()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

TEST(TextualInversionFiles, ThatDoNotFitAreRefusedByName) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl");
  const auto refused = [&](const nlohmann::json& tensors, const char* part) {
    write_embeddings(folder / "style.safetensors", tensors);
    const std::string message = message_of<UserError>([&] { pipe.load_textual_inversion(folder / "style.safetensors"); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refused({{"a", {2, 128}}, {"b", {2, 128}}}, "expected embeddings: one tensor, emb_params, or clip_l and clip_g; got a, b");
  refused({{"emb_params", {2, 100}}}, "tensor \"emb_params\" is float32[2, 100]: expected embeddings [n, 128] for the text_encoder");
  refused({{"clip_l", {1, 128}}, {"clip_g", {1, 128}}}, "tensor \"clip_g\" is float32[1, 128]: expected embeddings [n, 192] for the text_encoder_2");
  EXPECT_NE(message_of<UserError>([&] { pipe.load_textual_inversion(folder / "style.pt"); }).find("other formats can hold programs"),
            std::string::npos);
  write_embeddings(folder / "style.safetensors", {{"emb_params", {1, 128}}});
  pipe.load_textual_inversion(folder / "style.safetensors");
  EXPECT_NE(message_of<UsageError>([&] { pipe.load_textual_inversion(folder / "style.safetensors"); }).find("cannot be added"), std::string::npos);
  EXPECT_THROW(pipe.unload_textual_inversion({"other"}), UsageError);
  pipe.unload_textual_inversion({"style"});
  // As wide as the second text encoder alone.
  write_embeddings(folder / "style.safetensors", {{"<wide>", {1, 192}}});
  pipe.load_textual_inversion(folder / "style.safetensors");
  EXPECT_EQ(pipe.tokenize("<wide>", 2).as<int32_t>()[1], 1536);
  EXPECT_NE(pipe.tokenize("<wide>", 1).as<int32_t>()[1], 1536);
}

}  // namespace
}  // namespace vivace
