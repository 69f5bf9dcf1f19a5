// Checkpoints in one file: the same picture, bit for bit, as from the folder that they were made of (which the golden cases compare with Diffusers).
#include "single_file.h"

#include <cmath>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "components/model_classes.h"
#include "pipelines/checkpoint_files.h"
#include "tokenizers/tokenizer.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class SingleFiles : public testing::TestWithParam<const char*> {};

TEST_P(SingleFiles, DrawAsTheirFolders) {
  const TinyCheckpoint tiny(GetParam());
  const fs::path file = tiny.write("no hint in the name.safetensors", {}, {}, {"model_ema.decay", "denoiser.sigmas"});
  for (const CompileMode mode : {CompileMode::off, CompileMode::default_}) {
    PretrainedOptions options;
    options.compile.mode = mode;
    const std::vector<float> whole = picture(DiffusionPipeline::from_pretrained(tiny.model(), options));
    options.config = tiny.configs();
    EXPECT_EQ(picture(DiffusionPipeline::from_single_file(file, options)), whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, SingleFiles, testing::Values("sdxl_two_levels", "sdxl_three_levels", "sd1", "dev", "schnell"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SingleFile, PartsLieInFilesOfTheirOwn) {
  const TinyCheckpoint tiny("dev");
  const std::vector<float> whole = picture(DiffusionPipeline::from_pretrained(tiny.model()));
  const fs::path transformer = tiny.write("transformer.safetensors", {"transformer"});
  PretrainedOptions options;
  options.config = tiny.configs();
  const auto refusal = [&] { return message_of<UserError>([&] { DiffusionPipeline::from_single_file(transformer, options); }); };
  EXPECT_NE(refusal().find("transformer.safetensors: it holds no weights of a CLIPTextModel: name a file or folder for it with --text-encoder"),
            std::string::npos)
      << refusal();
  options.components = {{"text_encoder", tiny.write("clip.safetensors", {"text_encoder"})}, {"text_encoder_2", tiny.model() / "text_encoder_2"}};
  EXPECT_NE(refusal().find("no weights of a AutoencoderKL: name a file or folder for it with --vae"), std::string::npos) << refusal();
  options.components["vae"] = transformer;
  EXPECT_NE(refusal().find("it holds no weights of a AutoencoderKL under any names that are known"), std::string::npos) << refusal();
  options.components["vae"] = tiny.write("vae.safetensors", {"vae"});
  EXPECT_EQ(picture(FluxPipeline::from_single_file(transformer, options)), whole);
  // A tokenizer that the configs lack.
  fs::rename(tiny.configs() / "tokenizer_2", tiny / "elsewhere");
  EXPECT_NE(refusal().find("configs does not have: name its folder with --tokenizer-2"), std::string::npos) << refusal();
  options.components["tokenizer_2"] = tiny / "elsewhere";
  EXPECT_EQ(picture(FluxPipeline::from_single_file(transformer, options)), whole);
  // A part of a folder, too.
  options = {};
  options.components["transformer"] = transformer;
  EXPECT_EQ(picture(FluxPipeline::from_pretrained(tiny.model(), options)), whole);
  options.components["unet"] = transformer;
  EXPECT_NE(message_of<UsageError>([&] { FluxPipeline::from_pretrained(tiny.model(), options); }).find("a FluxPipeline has no \"unet\" to be named"),
            std::string::npos);
}

TEST(SingleFile, StorageIsThatOfTheFile) {
  for (const DType dtype : {float16, bfloat16}) {
    const TinyCheckpoint tiny("sdxl_two_levels", dtype);
    const std::vector<float> whole = picture(DiffusionPipeline::from_pretrained(tiny.model()));
    PretrainedOptions options;
    options.config = tiny.configs();
    EXPECT_EQ(picture(DiffusionPipeline::from_single_file(tiny.write("x.safetensors"), options)), whole) << dtype_name(dtype);
  }
}

// What is stored in 8 bits is drawn as what it holds, whatever its scale.
TEST(SingleFile, EightBitsAreWhatTheyHold) {
  const TinyCheckpoint tiny("sd1");
  PretrainedOptions options;
  options.config = tiny.configs();
  const auto draw = [&](const TinyCheckpoint::Store& store) {
    return picture(DiffusionPipeline::from_single_file(tiny.write("x.safetensors", {}, store), options));
  };
  using Add = TinyCheckpoint::Add;
  const auto narrow = [](const Tensor& t) { return t.to(DType::float8_e4m3); };
  const auto scaled = [](const Tensor& t, float scale) {
    Tensor result = t.to(float32).clone();
    for (float& x : result.floats()) x *= scale;
    return result;
  };
  const auto is_matrix = [](const std::string& name, const Tensor& t) {
    return t.rank() == 2 && name.starts_with("model.diffusion_model.") && name.ends_with(".weight");
  };
  // As trainers write it: everything, without scales.
  EXPECT_EQ(draw([&](const std::string& name, const Tensor& t, const Add& add) { add(name, narrow(t)); }),
            draw([&](const std::string& name, const Tensor& t, const Add& add) { add(name, narrow(t).to(float32)); }));
  // As ComfyUI does: matrices with a scale of the tensor. A power of two, so that nothing rounds.
  const auto matrices = draw(
      [&](const std::string& name, const Tensor& t, const Add& add) { add(name, is_matrix(name, t) ? scaled(narrow(scaled(t, 64)), 1.f / 64) : t); });
  for (const char* scale : {"scale_weight", "weight_scale"})
    EXPECT_EQ(draw([&](const std::string& name, const Tensor& t, const Add& add) {
                if (!is_matrix(name, t)) return add(name, t);
                add(name, narrow(scaled(t, 64)));
                add(name.substr(0, name.size() - 6) + scale, Tensor::full({}, 1.f / 64));
              }),
              matrices);
  // Its int8, with a scale for each row and a note that says so.
  const auto rounded = [&](const Tensor& t) {
    Tensor result = scaled(t, 128).clone();
    for (float& x : result.floats()) x = std::nearbyint(std::clamp(x, -127.f, 127.f));
    return result;
  };
  const std::string note = R"({"format": "int8_tensorwise", "per_row": true})",
                    rotated = R"({"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 16})";
  const auto int8 = [&](const std::string& text) -> TinyCheckpoint::Store {
    return [&, text](const std::string& name, const Tensor& t, const Add& add) {
      if (!is_matrix(name, t)) return add(name, t);
      const std::string layer = name.substr(0, name.size() - 6);
      add(name, rounded(t).to(DType::int8));
      add(layer + "weight_scale", Tensor::full({t.dim(0), 1}, 1.f / 128));
      Tensor json({static_cast<int64_t>(text.size())}, DType::uint8);
      std::memcpy(json.data(), text.data(), text.size());
      add(layer + "comfy_quant", json);
    };
  };
  EXPECT_EQ(draw(int8(note)), draw([&](const std::string& name, const Tensor& t, const Add& add) {
              add(name, is_matrix(name, t) ? scaled(rounded(t), 1.f / 128) : t);
            }));
  // Turned back: in groups of 16 features by the Kronecker product of two matrices of 4, all of whose sums are exact here.
  const auto turned = [&](const Tensor& t) {
    Tensor result = t.clone();
    for (int64_t first = 0; first < t.numel(); first += 16)
      for (int64_t i = 0; i < 16; ++i) {
        float sum = 0;
        for (int64_t j = 0; j < 16; ++j) sum += ((i % 4 + j % 4 == 3) != (i / 4 + j / 4 == 3) ? -0.25f : 0.25f) * t.as<float>()[first + j];
        result.as<float>()[first + i] = sum;
      }
    return result;
  };
  EXPECT_EQ(draw(int8(rotated)), draw([&](const std::string& name, const Tensor& t, const Add& add) {
              add(name, is_matrix(name, t) ? turned(scaled(rounded(t), 1.f / 128)) : t);
            }));
  const auto refusal = [&](const std::string& text) { return message_of<UserError>([&] { draw(int8(text)); }); };
  const std::string odd = refusal(R"({"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 48})");
  EXPECT_NE(odd.find("is quantised as int8_tensorwise in rotated groups of 48: expected 16, 64 or 256"), std::string::npos) << odd;
  const std::string whole = refusal(R"({"format": "int8_tensorwise", "convrot": true})");
  EXPECT_NE(whole.find("expected rows of whole groups of 256, in which its note says that it is rotated"), std::string::npos) << whole;
  const std::string other = refusal(R"({"format": "nvfp4"})");
  EXPECT_NE(other.find("is quantised as \"nvfp4\", which is not supported: expected float8_e4m3fn"), std::string::npos) << other;
}

// The same names with the values that the blocks hold.
fs::path widened(const fs::path& gguf, const fs::path& to) {
  const auto file = TensorFile::open(gguf);
  std::vector<TensorSpec> specs;
  std::vector<Tensor> tensors;
  for (const WeightInfo& t : file->tensors()) {
    const Shape shape = values_shape(t);
    Tensor values;
    if (t.format) {
      values = Tensor(shape, float32);
      widen_blocks(*t.format, {static_cast<const std::byte*>(t.data), t.bytes}, values.as<float>());
    } else {
      values = Tensor::view(shape, t.dtype, const_cast<void*>(t.data), std::const_pointer_cast<TensorFile>(file)).to(float32);
    }
    specs.push_back({t.name, float32, shape});
    tensors.push_back(values);
  }
  write_safetensors(to, specs, {}, [&](size_t i) { return tensors[i]; });
  return to;
}

TEST(SingleFile, GgufIsDrawnAsItsValues) {
  const TinyCheckpoint tiny("dev");
  const fs::path gguf = fs::path(VIVACE_TEST_DATA) / "gguf";
  const auto draw = [&](const fs::path& transformer, const fs::path& t5, CompileMode mode, bool int8 = false) {
    PretrainedOptions options;
    options.compile.mode = mode;
    options.config = tiny.configs();
    options.components = {{"text_encoder", tiny.model() / "text_encoder"}, {"text_encoder_2", t5}, {"vae", tiny.model() / "vae"}};
    DiffusionPipeline pipe = DiffusionPipeline::from_single_file(transformer, options);
    EXPECT_TRUE(!int8 || !quantize_weight_only(pipe.model("transformer")).empty());
    return picture(pipe);
  };
  const fs::path transformer = widened(gguf / "flux.gguf", tiny / "flux.safetensors"), t5 = widened(gguf / "t5.gguf", tiny / "t5.safetensors");
  for (const CompileMode mode : {CompileMode::off, CompileMode::default_})
    EXPECT_EQ(draw(gguf / "flux.gguf", gguf / "t5.gguf", mode), draw(transformer, t5, mode));
  // Quantised anew, to rows of int8.
  EXPECT_EQ(draw(gguf / "flux.gguf", gguf / "t5.gguf", CompileMode::off, true), draw(transformer, t5, CompileMode::off, true));
}

TEST(SingleFile, WhatItSaysOfItsPredictionsIsHeeded) {
  const TinyCheckpoint tiny("sdxl_two_levels");
  PretrainedOptions options;
  options.config = tiny.configs();
  const auto config = [&](const std::vector<std::string>& besides, const Metadata& metadata) {
    const DiffusionPipeline pipe = DiffusionPipeline::from_single_file(tiny.write("x.safetensors", {}, {}, besides, metadata), options);
    return strict_json(pipe.scheduler().config());
  };
  EXPECT_EQ(config({}, {})["prediction_type"], "epsilon");
  EXPECT_EQ(config({"v_pred"}, {})["prediction_type"], "v_prediction");
  EXPECT_EQ(config({}, {{"modelspec.prediction_type", "v"}})["prediction_type"], "v_prediction");
  const nlohmann::json zero = config({"v_pred", "ztsnr"}, {});
  EXPECT_EQ(zero["rescale_betas_zero_snr"], true);
  EXPECT_EQ(zero["timestep_spacing"], "trailing");
}

// Stable Diffusion 2's files are of two kinds that look alike.
TEST(SingleFile, APredictionThatIsGuessedIsTold) {
  const TempFolder folder;
  const auto warnings = [&](const Metadata& metadata, const fs::path& config) {
    const fs::path file = folder / "x.safetensors";
    write_safetensors(file,
                      {{"model.diffusion_model.input_blocks.0.0.weight", float32, {1, 4, 1, 1}},
                       {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", float32, {1, 1024}}},
                      metadata, [](size_t i) {
                        return i == 0 ? Tensor::zeros({1, 4, 1, 1}) : Tensor::zeros({1, 1024});
                      });
    std::string all;
    set_log_sink([&](LogLevel, const std::string& text) { all += text; });
    PretrainedOptions options;
    options.config = config;
    (void)CheckpointFiles(file, options).scheduler_config();
    set_log_sink(nullptr);
    return all;
  };
  EXPECT_NE(warnings({}, "").find("does not say how it predicts: taken as a v_prediction, as sd-v2-1 is"), std::string::npos);
  EXPECT_EQ(warnings({{"modelspec.prediction_type", "epsilon"}}, ""), "");
  EXPECT_EQ(warnings({}, "sd-v2-1"), "");
}

TEST(SingleFile, OthersAreRefusedInOneLine) {
  const TempFolder folder;
  const auto refusal = [&](const std::string& name, const std::string& bytes) {
    write_file(folder / name, bytes);
    return message_of<UserError>([&] { DiffusionPipeline::from_single_file(folder / name); });
  };
  using namespace std::string_literals;
  for (const std::string& bytes : {"PK\x03\x04 and so on"s, "\x80\x02}q\x00"s})
    EXPECT_NE(refusal("model.ckpt", bytes)
                  .find("model.ckpt: a pickle, as PyTorch writes, is not opened, since reading one can run code that it holds: convert"),
              std::string::npos);
  EXPECT_NE(refusal("model.safetensors", "garbage").find("not a valid safetensors file"), std::string::npos);
  EXPECT_NE(refusal("model.gguf", "GGUF").find("not a valid GGUF file"), std::string::npos);
  EXPECT_NE(message_of<UserError>([&] { DiffusionPipeline::from_single_file(folder / "none"); }).find("no file at"), std::string::npos);
  EXPECT_NE(message_of<UserError>([&] { DiffusionPipeline::from_pretrained(folder / "model.gguf"); }).find("from_single_file"), std::string::npos);
  const TinyCheckpoint tiny("sd1");
  PretrainedOptions options;
  options.config = "no such folder";
  const std::string none = message_of<UserError>([&] { DiffusionPipeline::from_single_file(tiny.write("x.safetensors"), options); });
  EXPECT_NE(none.find("no configs at no such folder: expected a folder with model_index.json, or the name of one in "), std::string::npos) << none;
  options.config = "sd-v1-5";  // one of the program's own
  const std::string misfit = message_of<UserError>([&] { DiffusionPipeline::from_single_file(tiny.write("x.safetensors"), options); });
  EXPECT_NE(misfit.find("of another shape: "), std::string::npos) << misfit;
}

// The program's own configs, at full size: the models have the weights that Diffusers' converters make of the files, and tokenizers to go with them.
TEST(SingleFile, ConfigsOfTheProgramAreThoseOfTheFiles) {
  for (const auto& [name, rows] : TinyCheckpoint::golden().at("full").items()) {
    const fs::path configs = kRepository / "assets/configs" / name;
    const auto index = strict_json(read_file(configs / "model_index.json"));
    std::map<std::string, std::set<std::string>> weights;
    for (const auto& row : rows)
      for (const std::string weight : row.at(4)) weights[row.at(3)].insert(weight);
    for (const auto& [part, want] : weights) {
      std::set<std::string> got;
      for (const Graph& graph : find_model_class(index.at(part).at(1).get<std::string>())->graphs(Config::read(configs / part / "config.json")))
        for (const Node& node : graph.nodes)
          if (node.op == Op::weight) got.insert(node.attrs.text("name"));
      EXPECT_EQ(got, want) << name << ' ' << part;
    }
    for (const auto& [part, entry] : index.items())
      if (part.starts_with("tokenizer") && entry.at(1).is_string())
        open_tokenizer(entry.at(1).get<std::string>(), configs / part);  // throws where files are missing
  }
}

}  // namespace
}  // namespace vivace
