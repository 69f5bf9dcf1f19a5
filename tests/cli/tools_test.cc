// The subcommands that look inside.
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"
#include "progress.h"

namespace vivace {
namespace {

constexpr const char* kEmoji = VIVACE_SOURCE_DIR "/assets/emoji-xl";
constexpr const char* kFullSize = VIVACE_SOURCE_DIR "/assets/configs/sdxl-base";

nlohmann::json json_of(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const Finished done = vivace(arguments);
  EXPECT_EQ(done.code, 0) << done.err;
  return strict_json(done.out);
}

TEST(Program, HelpAndVersion) {
  EXPECT_EQ(vivace({"--help"}).code, 0);
  EXPECT_TRUE(vivace({"--version"}).out.starts_with("vivace "));
  for (const char* name :
       {"generate", "sheet", "info", "tokenize", "explain", "profile", "tune", "bench", "bench-component", "make-random", "quantize"}) {
    EXPECT_EQ(vivace({name, "--help"}).code, 0);
    EXPECT_NE(vivace({"--help"}).out.find(name), std::string::npos);
  }
}

TEST(Info, TheModelInTheRepository) {
  const auto info = json_of({"info"});
  EXPECT_EQ(info["class"], "StableDiffusionXLPipeline");
  EXPECT_EQ(info["height"], 128);
  const auto& unet = info["components"]["unet"];
  EXPECT_EQ(unet["class"], "UNet2DConditionModel");
  EXPECT_EQ(unet["dtypes"].size(), 1u);
  EXPECT_TRUE(unet["dtypes"].contains("float16"));
  EXPECT_GT(unet["file_bytes"].get<int64_t>(), 2 * unet["parameters"].get<int64_t>());
  EXPECT_GT(unet["arena_bytes"].get<int64_t>(), 0);
  EXPECT_EQ(info["others"]["scheduler"], "EulerDiscreteScheduler");
  const std::string text = vivace({"info", kEmoji}).out;
  for (const char* word : {"text_encoder_2", "CLIPTextModelWithProjection", "float16", "BasicTransformerBlock"})
    EXPECT_NE(text.find(word), std::string::npos) << word;
}

// What a call of the pipeline's defaults takes.
TEST(Info, TheBatchIsTheCalls) {
  const std::string flux = VIVACE_SOURCE_DIR "/assets/emoji-flux", cogvideox = VIVACE_SOURCE_DIR "/assets/configs/cogvideox-2b";
  const std::string size = "64";
  EXPECT_EQ(json_of({"info", flux, "--height", size, "--width", size})["batch"], 1);
  EXPECT_EQ(json_of({"info", tiny_model()})["batch"], 2);
  EXPECT_EQ(json_of({"info", tiny_model(), "--batch", "1"})["batch"], 1);
  const std::string video = vivace({"info", cogvideox, "--height", size, "--width", size, "--num-frames", "9"}).out;
  EXPECT_NE(video.find("64 x 64 video of 9 frames"), std::string::npos) << video;
}

TEST(Info, TheTokensOfAPromptAreTheCalls) {
  const std::string flux = VIVACE_SOURCE_DIR "/assets/emoji-flux";
  const auto arena = [&](const char* component, const char* tokens) {
    return json_of({"info", flux, "--height", "64", "--width", "64", "--max-sequence-length", tokens})["components"][component]["arena_bytes"]
        .get<int64_t>();
  };
  for (const char* component : {"text_encoder_2", "transformer"}) EXPECT_LT(arena(component, "32"), arena(component, "256")) << component;
  expect_refused(vivace({"info", flux, "--max-sequence-length", "513"}), 2, {"max_sequence_length", "513"});
  expect_refused(vivace({"info", tiny_model().string(), "--max-sequence-length", "32"}), 2, {"max_sequence_length"});
}

TEST(Info, FullSizeConfigsWithoutWeights) {
  const auto info = json_of({"info", kFullSize, "--dtype", "bf16"});
  const auto& unet = info["components"]["unet"];
  EXPECT_EQ(unet["parameters"], 2567463684);  // as Diffusers counts them
  EXPECT_EQ(unet["files"], 0);
  std::map<std::string, int> counts;
  for (const auto& block : unet["repeated_blocks"]) {
    counts[block["class"]] = block["count"];
  }
  EXPECT_EQ(counts["BasicTransformerBlock"], 70);
  EXPECT_EQ(counts["ResnetBlock2D"], 17);
  EXPECT_EQ(info["components"]["vae"]["parameters"], 83653863);
}

TEST(Info, EightBitsAreThoseOfTheDenoiserUnlessOthersAreNamed) {
  const auto weights = [](const std::vector<std::string>& more) {
    std::vector<std::string> call{"info", tiny_model().string()};
    call.insert(call.end(), more.begin(), more.end());
    std::map<std::string, int64_t> bytes;
    const auto info = json_of(call);
    for (const auto& [name, component] : info["components"].items()) bytes[name] = component["constant_bytes"].get<int64_t>();
    return bytes;
  };
  const auto plain = weights({}), denoiser = weights({"--quantize", "int8-dynamic", "--quantize-filter", "all"}),
             text = weights({"--quantize", "int8-dynamic", "--quantize-filter", "all", "--quantize-component", "text_encoder_2"});
  for (const char* name : {"text_encoder", "text_encoder_2", "unet", "vae"}) {
    EXPECT_EQ(denoiser.at(name) < plain.at(name), name == std::string("unet")) << name;
    EXPECT_EQ(text.at(name) < plain.at(name), name == std::string("text_encoder_2")) << name;
  }
  expect_refused(vivace({"info", tiny_model().string(), "--quantize", "int8-dynamic", "--quantize-component", "transformer"}), 2,
                 {"--quantize-component", "transformer", "unet"});
}

// What a call takes is known without weights.
TEST(Info, FullSizeFluxFitsIntoMemoryInEightBits) {
  const std::vector<std::string> call{"info",
                                      VIVACE_SOURCE_DIR "/assets/configs/flux-schnell",
                                      "--dtype",
                                      "bf16",
                                      "--height",
                                      "512",
                                      "--width",
                                      "512",
                                      "--batch",
                                      "1",
                                      "--quantize",
                                      "int8-dynamic",
                                      "--quantize-filter",
                                      "all",
                                      "--quantize-component",
                                      "transformer",
                                      "--quantize-component",
                                      "text_encoder_2"};
  const auto info = json_of(call);
  EXPECT_EQ(info["components"]["transformer"]["parameters"], 11891178560);  // as Diffusers counts them
  EXPECT_EQ(info["components"]["text_encoder_2"]["parameters"], 4762310656);
  const auto peak = info["bytes"]["peak"].get<int64_t>(), kept = info["bytes"]["peak_with_everything_kept"].get<int64_t>();
  EXPECT_GT(peak, 11'891'178'560) << "the transformer, a byte a parameter";
  EXPECT_LT(peak, 15'500'000'000);
  EXPECT_GT(kept, peak + 4'700'000'000) << "T5 beside it";
  EXPECT_NE(vivace(call).out.find("A call takes for encoding "), std::string::npos);
}

TEST(Tokenize, IdsAndTokens) {
  const auto one = json_of({"tokenize", "a red apple"}), two = json_of({"tokenize", "a red apple", "--tokenizer", "2", "--padded"});
  EXPECT_EQ(one["length"], 5);
  EXPECT_EQ(one["tokens"], (nlohmann::json{"<|startoftext|>", "a</w>", "red</w>", "apple</w>", "<|endoftext|>"}));
  EXPECT_EQ(two["ids"].size(), 77u);
  EXPECT_EQ(two["ids"][76], 0);
  EXPECT_NE(vivace({"tokenize", "a red apple"}).out.find("apple</w>"), std::string::npos);
  const auto t5 = json_of({"tokenize", "a red apple", "--model", VIVACE_SOURCE_DIR "/assets/emoji-flux", "--tokenizer", "2"});
  EXPECT_EQ(t5["length"], t5["ids"].size());
  EXPECT_EQ(t5["tokens"].back(), "</s>");
  const std::string cogvideox = VIVACE_SOURCE_DIR "/assets/configs/cogvideox-2b";
  expect_refused(vivace({"tokenize", "x", "--model", cogvideox, "--tokenizer", "2"}), 1, {"the model has no tokenizer_2"});
}

TEST(Explain, EachStepHasAKernelAndReasons) {
  const auto plan = json_of({"explain", "--model", tiny_model(), "--batch", "2"});
  EXPECT_EQ(plan["graph_breaks"], 0);
  EXPECT_GT(plan["step"].size(), 50u);
  bool refused = false;
  for (const auto& step : plan["step"]) {
    EXPECT_FALSE(step["kernel"].get<std::string>().empty());
    EXPECT_FALSE(step["out"].get<std::string>().empty());
    for (const auto& other : step["refused"]) refused = refused || !other["reason"].get<std::string>().empty();
  }
  EXPECT_GT(plan["arena_bytes"].get<int64_t>(), 0);
  EXPECT_GT(plan["constant_bytes"].get<int64_t>(), 0);
  const auto other = json_of({"explain", "--model", tiny_model(), "--sdpa", "math"});
  for (const auto& step : other["step"])
    if (step["op"] == "attention") refused = refused || !step["refused"].empty();
  EXPECT_TRUE(refused);
}

TEST(Explain, EveryComponentAndDtype) {
  for (const char* component : {"unet", "vae.decode", "vae.encode", "text_encoder", "text_encoder_2"})
    for (const char* dtype : {"fp32", "bf16", "fp16"}) {
      const Finished done = vivace({"explain", "--model", tiny_model(), "--component", component, "--dtype", dtype});
      EXPECT_EQ(done.code, 0) << component << ' ' << dtype << ": " << done.err;
      EXPECT_EQ(done.out.find("ref_"), std::string::npos) << component << " in " << dtype << " runs an op on the oracle";
      if (std::string(component) + dtype == "unetfp16") {
        EXPECT_NE(done.out.find("float16 storage, float32 arithmetic"), std::string::npos);
      }
    }
}

TEST(Explain, FullSizeArithmetic) {
  // REFERENCE: 6.76 TFLOP a forward of the UNet at 1024 x 1024, 10.47 of the VAE's decoder. Passes may take arithmetic away, never add to it.
  const auto unet = json_of({"explain", "--model", kFullSize, "--dtype", "bf16"}),
             vae = json_of({"explain", "--model", kFullSize, "--dtype", "bf16", "--component", "vae.decode"});
  EXPECT_NEAR(unet["flops"].get<double>() / 1e12, 6.76, 0.005);
  EXPECT_NEAR(vae["flops"].get<double>() / 1e12, 10.47, 0.005);
}

TEST(Explain, SaysWhatAModeMeansAndForWhichComponent) {
  const auto mode = [](const char* component, std::vector<std::string> more) {
    std::vector<std::string> arguments{"explain", "--model", tiny_model(), "--component", component};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json_of(arguments)["mode"].get<std::string>();
  };
  const std::vector<std::string> some{"--compile",      "max-autotune:unet,vae.decode", "--compile", "default:text_encoder", "--compile",
                                      "reduce-overhead"};
  EXPECT_EQ(mode("unet", some), "max-autotune");
  EXPECT_EQ(mode("vae.decode", some), "max-autotune");
  EXPECT_EQ(mode("text_encoder", some), "default");
  EXPECT_NE(mode("vae.encode", some).find("reduce-overhead: as default"), std::string::npos) << "the mode without components is for the rest";
  EXPECT_NE(mode("unet", {"--compile", "max-autotune-no-cudagraphs"}).find("as max-autotune"), std::string::npos);
  EXPECT_NE(mode("unet", {}).find("eager"), std::string::npos);
}

TEST(Explain, ShowsWhatWasTimedAndWhatItCost) {
  const TempFolder folder;
  const std::vector<std::string> common{"explain",    "--model",     tiny_model(),           "--compile",    "max-autotune",
                                        "--regional", "--cache-dir", folder.path().string(), "--cache-size", "1M"};
  const auto explain = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return json_of(more);
  };
  EXPECT_EQ(explain({})["autotuning"]["timed"], 0) << "looking times nothing";
  const auto timed = explain({"--autotune-seconds", "2"}), again = explain({});
  EXPECT_GT(timed["autotuning"]["timed"].get<int>(), 0);
  EXPECT_EQ(again["autotuning"], timed["autotuning"]) << "what is known is shown";
  EXPECT_EQ(again["step"], timed["step"]);
  ASSERT_FALSE(timed["regions"].empty());
  const std::string text =
      vivace({"explain", "--model", tiny_model(), "--compile", "max-autotune", "--regional", "--autotune-seconds", "1", "--no-cache"}).out;
  for (const char* words : {"compiled once for", "timed once a kind", "for every call", "times as many"})
    EXPECT_NE(text.find(words), std::string::npos) << words;
}

TEST(Explain, ListsPassesAndPrintsGraphs) {
  const auto passes = json_of({"explain", "--passes"});
  // A text that begins with a digit is none the less a text.
  for (const auto& pass : passes) EXPECT_NE(vivace({"explain", "--passes"}).out.find("  " + pass["what"].get<std::string>()), std::string::npos);
  EXPECT_EQ(vivace({"explain", "--passes"}).out.find("when compiling   "), std::string::npos);
  std::string optional;
  for (const auto& pass : passes)
    if (pass["optional"].get<bool>()) optional = pass["name"];
  ASSERT_FALSE(optional.empty());
  EXPECT_EQ(vivace({"explain", "--model", tiny_model(), "--compile", "default", "--disable-pass", optional, "-q"}).code, 0);
  const std::string graph = vivace({"explain", "--model", tiny_model(), "--graph"}).out;
  EXPECT_NE(graph.find("return sample=%"), std::string::npos);
  EXPECT_EQ(json_of({"explain", "--model", tiny_model(), "--graph"})["graph"], graph);
  expect_refused(vivace({"explain", "--graph", "--passes"}), 2, {"--graph", "--passes", "leave one"});
}

// As the frames of a second video are told.
TEST(Progress, ASecondCountHasItsOwnSeconds) {
  testing::internal::CaptureStderr();
  cli::Progress progress(true, "frame");
  progress.step(1, 2, 4);
  progress.step(2, 2, 4);
  progress.step(1, 2, 1);
  progress.step(2, 2, 2);
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "frame 1/2, 4 s/frame, 00:04 left\nframe 2/2, 4 s/frame, 00:00 left\nframe 1/2, 1 s/frame, 00:01 left\nframe 2/2, 1.5 s/frame, 00:00 left\n");
}

TEST(Progress, LongStepsAreInPlainSeconds) {
  testing::internal::CaptureStderr();
  cli::Progress(true, "step").step(1, 2, 1510);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "step 1/2, 1510 s/step, 25:10 left\n");
}

TEST(Profile, SharesAndATrace) {
  const TempFolder folder;
  const auto profile = json_of({"profile", "--model", tiny_model(), "--runs", "1", "--trace", (folder / "trace.json").string()});
  EXPECT_GT(profile["step_seconds"].get<double>(), 0);
  EXPECT_GT(profile["flops"].get<double>(), 0);
  double by_kernel = 0;
  for (const auto& share : profile["by_kernel"]) by_kernel += share["seconds"].get<double>();
  EXPECT_NEAR(by_kernel, profile["step_seconds"].get<double>(), 1e-9);
  double by_step = 0;
  bool computes = false;
  for (const auto& step : profile["step"]) {
    by_step += step["seconds"].get<double>();
    EXPECT_GT(step["share_of_memory"].get<double>(), 0) << step;
    const double flops = step["flops"], seconds = step["seconds"], share = step["share_of_peak"];
    const auto is_share_of = [&](const char* peak) { return std::abs(share * seconds * profile["peak"][peak].get<double>() / flops - 1) < 1e-6; };
    EXPECT_TRUE(flops == 0 || seconds < 1e-9 || is_share_of("float32")) << step;
    computes = computes || flops > 0;
  }
  EXPECT_TRUE(computes);
  EXPECT_NEAR(by_step, profile["step_seconds"].get<double>(), 1e-9);
  const auto trace = strict_json(read_text(folder / "trace.json"));
  EXPECT_GT(trace["traceEvents"].size(), 100u);
  for (const auto& event : trace["traceEvents"]) EXPECT_TRUE(event["ph"] == "X" && event["dur"].get<double>() >= 0);
  EXPECT_NE(vivace({"profile", "--model", tiny_model(), "--component", "vae.decode", "--runs", "1"}).out.find("GFLOP/s"), std::string::npos);
}

// A layer of a few rows reads little but its weight.
TEST(Profile, WeightsCountAsTheyArePacked) {
  const auto moved = [](const std::vector<std::string>& more) {
    std::vector<std::string> call{"profile", "--model", tiny_model(), "--runs", "1"};
    call.insert(call.end(), more.begin(), more.end());
    const auto profile = json_of(call);
    double bytes = 0;
    for (const auto& step : profile["step"])
      if (step["scope"].get<std::string>().find(".ff.net.") != std::string::npos && step["flops"].get<double>() > 0)
        bytes += step["share_of_memory"].get<double>() * step["seconds"].get<double>() * profile["peak"]["bytes"].get<double>();
    return bytes;
  };
  const double plain = moved({}), narrow = moved({"--quantize", "int8-weight-only", "--quantize-filter", "all"});
  EXPECT_GT(narrow, 0);
  EXPECT_LT(narrow, 0.6 * plain);
}

TEST(BenchComponent, FiguresOnOneLineAndTheWorkersProtocol) {
  const Finished once = vivace({"bench-component", "vae.decode", "--model", tiny_model(), "--runs", "3", "--json"});
  EXPECT_EQ(once.code, 0) << once.err;
  EXPECT_EQ(std::ranges::count(once.out, '\n'), 1);
  const auto figures = strict_json(once.out);
  EXPECT_EQ(figures["seconds"].size(), 3u);
  EXPECT_LE(figures["min"].get<double>(), figures["median"].get<double>());
  EXPECT_EQ(figures["flops"], json_of({"profile", "--component", "vae.decode", "--model", tiny_model(), "--runs", "1"})["flops"]);
  EXPECT_EQ(figures["steps_recorded"], 0) << "a CPU's step is no launch";
  const Finished worker = vivace({"bench-component", "unet", "--model", tiny_model(), "--worker"}, {.input = "run\nrun\n"});
  EXPECT_EQ(worker.code, 0) << worker.err;
  EXPECT_TRUE(worker.out.starts_with("{\"ready\":")) << worker.out;
  EXPECT_EQ(std::ranges::count(worker.out, '\n'), 3);
  expect_refused(vivace({"bench-component", "unet", "--model", kFullSize}), 1, {"unet", "make-random"});
}

TEST(MakeRandom, SaysWhereATokenizerIsMissing) {
  const TempFolder folder;
  const std::string configs = VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels", out = (folder / "out").string();
  expect_refused(vivace({"make-random", configs, out, "--tokenizers", (folder / "nowhere").string()}), 1, {"--tokenizers", "nowhere"});
  EXPECT_FALSE(std::filesystem::exists(out));
  std::filesystem::create_directory(folder / "empty");
  const Finished without = vivace({"make-random", configs, out, "--tokenizers", (folder / "empty").string()});
  EXPECT_EQ(without.code, 0);
  EXPECT_NE(without.err.find("none of its class to copy"), std::string::npos) << without.err;
  const auto made = json_of({"make-random", configs, out});
  EXPECT_EQ(made["files"], nlohmann::json{out});
  EXPECT_EQ(made["tokenizers_copied"], (nlohmann::json{"tokenizer", "tokenizer_2"}));
}

TEST(MakeRandom, SameSeedSameCheckpointAndShards) {
  const TempFolder folder;
  const char* configs = VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels";
  EXPECT_EQ(vivace({"make-random", configs, (folder / "a").string(), "-q"}).code, 0);
  constexpr const char* kFile = "unet/diffusion_pytorch_model.safetensors";
  EXPECT_EQ(read_text(folder / "a" / kFile), read_text(tiny_model() / kFile));
  EXPECT_EQ(vivace({"make-random", configs, (folder / "b").string(), "-q", "--dtype", "fp16", "--seed", "3", "--max-shard-size", "200KB"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "b" / "unet/diffusion_pytorch_model.safetensors.index.json"));
  EXPECT_GT(json_of({"info", (folder / "b").string()})["components"]["unet"]["files"].get<int>(), 1);
  EXPECT_EQ(vivace({"generate", "x", "--model", (folder / "b").string(), "--num-inference-steps", "1", "-q", "-o", (folder / "x.png").string()}).code,
            0);
}

TEST(MakeRandom, WeightsThatWereThereAreReplaced) {
  const TempFolder folder;
  const std::string configs = VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels", out = (folder / "out").string();
  const auto files_with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"make-random", configs, out, "-q"});
    EXPECT_EQ(vivace(more).code, 0);
    return json_of({"info", out})["components"]["unet"]["files"].get<int>();
  };
  EXPECT_GT(files_with({"--max-shard-size", "200KB"}), 1);
  EXPECT_EQ(files_with({"--seed", "2"}), 1) << "an index of what was there would be read first";
  EXPECT_GT(files_with({"--max-shard-size", "200KB"}), 1);
  EXPECT_FALSE(std::filesystem::exists(folder / "out" / "text_encoder/model.safetensors")) << "which would be read first";
}

}  // namespace
}  // namespace vivace
