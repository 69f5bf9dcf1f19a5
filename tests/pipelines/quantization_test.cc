// Quantised pipelines: filters, pictures near those of fp32, checkpoints in 8 bits.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "../temp_folder.h"
#include "base/json.h"
#include "base/log.h"
#include "components/models.h"
#include "components/quantized_checkpoint.h"
#include "vivace/vivace.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;
const fs::path kEmoji = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl";

const LinearInfo kQuery{"mid_block.attentions.0.transformer_blocks.0.attn1.to_q", 640, 1280, "BasicTransformerBlock"};

TEST(QuantizeFilter, Terms) {
  for (const char* yes :
       {"in>=640", "in=640,out=1280", "out>1279", "out<=1280,in<641", "name~attn1", "class=BasicTransformerBlock, name~mid_block", "all"})
    EXPECT_TRUE(parse_quantize_filter(yes)(kQuery)) << yes;
  for (const char* no : {"in>640", "in=640,out=640", "out<1280", "name~attn2", "class=ResnetBlock2D", "dynamic_quant_filter_fn"})
    EXPECT_FALSE(parse_quantize_filter(no)(kQuery)) << no;
  for (const char* bad : {"", "in", "in>=", "in>=x", "in~5", "name=x", "width>5", "in>=5,,out>=5", ">=5", "in=>5", "everything"})
    EXPECT_THROW(parse_quantize_filter(bad), UsageError) << bad;
}

TEST(QuantizeFilter, TheGuides) {
  EXPECT_FALSE(dynamic_quant_filter_fn({"", 16, 320, ""}));
  EXPECT_FALSE(dynamic_quant_filter_fn({"", 640, 5120, ""}));
  EXPECT_TRUE(dynamic_quant_filter_fn({"", 1280, 1280, ""}));
  EXPECT_TRUE(dynamic_quant_filter_fn({"", 1280, 10240, ""}));
}

TEST(QuantizeFilter, TransformersKeepTheirEdgesAndModulation) {
  for (const char* yes : {"transformer_blocks.0.attn.to_q", "transformer_blocks.11.ff_context.net.2", "single_transformer_blocks.3.proj_mlp",
                          "joint_transformer_blocks.0.ff.linear_1"})
    EXPECT_TRUE(transformer_quant_filter_fn({yes, 64, 64, ""})) << yes;
  for (const char* no : {"x_embedder", "context_embedder", "time_text_embed.timestep_embedder.linear_1", "transformer_blocks.0.norm1_context.linear",
                         "single_transformer_blocks.3.norm.linear", "norm_out.linear", "proj_out"})
    EXPECT_FALSE(transformer_quant_filter_fn({no, 64, 64, ""})) << no;
  EXPECT_TRUE(parse_quantize_filter("transformer_quant_filter_fn")({"transformer_blocks.0.attn.to_q", 64, 64, ""}));
}

TEST(QuantizeFilter, LayersKnowTheirBlocksClasses) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-flux");
  std::map<std::string, std::string> classes;
  for (const LinearLayer& layer : linear_layers(pipe.transformer().component().typical_graph(), {}))
    classes[layer.info.name] = layer.info.block_class;
  EXPECT_EQ(classes["transformer_blocks.1.attn.to_q"], "FluxTransformerBlock");
  EXPECT_EQ(classes["single_transformer_blocks.4.proj_out"], "FluxSingleTransformerBlock");
  EXPECT_EQ(classes["proj_out"], "");
  classes.clear();
  pipe = DiffusionPipeline::from_pretrained(kEmoji);
  for (const LinearLayer& layer : linear_layers(pipe.unet().component().typical_graph(), {})) classes[layer.info.name] = layer.info.block_class;
  EXPECT_EQ(classes["time_embedding.linear_1"], "TimestepEmbedding");
  EXPECT_EQ(classes["mid_block.resnets.0.time_emb_proj"], "ResnetBlock2D");
  EXPECT_EQ(classes["mid_block.attentions.0.proj_in"], "Transformer2DModel");
  EXPECT_EQ(classes["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"], "BasicTransformerBlock");
}

TEST(QuantizeFilter, FileOfNames) {
  const TempFolder folder;
  std::ofstream(folder / "layers.txt") << "# chosen by hand\n  " << kQuery.name << "  # the first\n\nsomething.else\n";
  const QuantizeFilter filter = parse_quantize_filter((folder / "layers.txt").string());
  EXPECT_TRUE(filter(kQuery));
  EXPECT_FALSE(filter({"another", 640, 1280, ""}));
}

// Keeps warnings instead of printing them.
struct Warnings {
  std::vector<std::string> texts;
  Warnings() {
    set_log_sink([this](LogLevel, const std::string& text) { texts.push_back(text); });
  }
  ~Warnings() { set_log_sink(nullptr); }
};

TEST(ApplyDynamicQuant, NamesWhatItChoseAndWarnsOfNothing) {
  auto pipe = DiffusionPipeline::from_pretrained(kEmoji);
  Warnings warnings;
  EXPECT_TRUE(apply_dynamic_quant(pipe.unet(), [](const LinearInfo&) { return false; }).empty());
  ASSERT_EQ(warnings.texts.size(), 1u);
  EXPECT_NE(warnings.texts[0].find("matches none"), std::string::npos) << warnings.texts[0];
  const auto names = apply_dynamic_quant(pipe.unet(), parse_quantize_filter("name~attn1.to_q"));
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) EXPECT_TRUE(name.ends_with("attn1.to_q")) << name;
  pipe.unet().compile({.mode = CompileMode::default_});
  EXPECT_EQ(pipe.unet().component().options().quantize.size(), names.size()) << "compile() keeps what was quantised";
  EXPECT_THROW(quantize_weight_only(pipe.unet(), float16), UsageError);
  EXPECT_THROW(apply_dynamic_quant(pipe.unet(), quantize_all, Quantization::float8_weight_only), UsageError);
  EXPECT_EQ(warnings.texts.size(), 1u);
}

Image draw(const fs::path& model, const std::function<void(DiffusionPipeline&)>& change = nullptr) {
  auto pipe = DiffusionPipeline::from_pretrained(model, {.compile = {.mode = CompileMode::default_}});
  if (change) change(pipe);
  return pipe("a red apple", {.num_inference_steps = 4, .seed = 3}).images[0];
}

TEST(ApplyDynamicQuant, TakesPointwiseConvolutionsThatRunAsLinears) {
  auto pipe = DiffusionPipeline::from_pretrained(kEmoji);
  const QuantizeFilter shortcuts = parse_quantize_filter("name~conv_shortcut");
  Warnings warnings;
  EXPECT_TRUE(apply_dynamic_quant(pipe.unet(), shortcuts).empty());
  CompileOptions options{.mode = CompileMode::default_};
  options.flags.conv_1x1_as_mm = true;
  pipe.unet().compile(options);
  const auto names = apply_dynamic_quant(pipe.unet(), shortcuts);
  EXPECT_FALSE(names.empty());
  auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
  std::vector<std::string> multiplied;
  Request request;
  for (const PlanStep& step : unet.plan(unet.request({.batch = 2, .height = 16, .width = 16}), request).step)
    if (step.attrs.text("compute") == "int8_dynamic") multiplied.push_back(step.scope);
  EXPECT_TRUE(std::ranges::is_permutation(multiplied, names));
  EXPECT_GT(psnr(pipe("a red apple", {.num_inference_steps = 4, .seed = 3}).images[0], draw(kEmoji)), 30);
}

TEST(ApplyDynamicQuant, MeasuredFilterKnowsTheModelsLayers) {
  auto pipe = DiffusionPipeline::from_pretrained(kEmoji);
  Warnings warnings;  // a machine on which no layer gains is told so
  std::set<std::string> known;
  for (const LinearLayer& layer : linear_layers(pipe.unet().component().typical_graph(), {})) known.insert(layer.info.name);
  for (const std::string& name : apply_dynamic_quant(pipe.unet())) EXPECT_TRUE(known.contains(name)) << name;
  // Nothing is timed for weights alone, so the error decides: rounding to 8 bits is far below the bound, and no layer of this model is special.
  const Component& unet = pipe.unet().component();
  const auto narrow = choose_layers(unet.typical_graph(), {}, Quantization::int8_weight_only,
                                    measured_filter(unet.typical_graph(), {}, &unet.weights(), float32, Quantization::int8_weight_only));
  EXPECT_EQ(narrow.size(), known.size());
}

// Few steps leave a drift no time to grow; 30 dB is the bar for 30 steps (docs/PERFORMANCE.md).
TEST(ApplyDynamicQuant, PicturesStayNear) {
  const Image exact = draw(kEmoji);
  for (const char* filter : {"all", "dynamic_quant_filter_fn"})
    EXPECT_GT(psnr(draw(kEmoji, [&](DiffusionPipeline& pipe) { apply_dynamic_quant(pipe.unet(), parse_quantize_filter(filter)); }), exact), 30)
        << filter;
  EXPECT_GT(psnr(draw(kEmoji, [](DiffusionPipeline& pipe) { quantize_weight_only(pipe.unet()); }), exact), 30);
}

class QuantizedCheckpoint : public testing::Test {
 protected:
  TempFolder folder_;
  fs::path model_ = folder_ / "int8";

  void write(Quantization kind) {
    auto pipe = DiffusionPipeline::from_pretrained(kEmoji);
    write_quantized_checkpoint(kEmoji, model_,
                               {.kind = kind, .layers = choose_layers(pipe.unet().component().typical_graph(), {}, kind, quantize_all)});
  }
  fs::path weights() const { return model_ / "unet" / "diffusion_pytorch_model.safetensors"; }
  void edit_config(const nlohmann::json& value) {
    const fs::path path = model_ / "unet" / "config.json";
    nlohmann::json config = read_json(path);
    config["quantization_config"] = value;
    std::ofstream(path) << json_text(config);
  }
  // Writes the unet's file again, each tensor as `change` wants it; an undefined tensor is left out.
  void rewrite(const std::function<Tensor(const std::string&, Tensor)>& change) {
    std::vector<TensorSpec> specs;
    std::map<std::string, Tensor> tensors;
    {
      const WeightMap map = WeightMap::open(model_ / "unet");
      for (const WeightInfo& w : map.weights()) {
        const Tensor changed = change(w.name, map.tensor(w.name).clone());
        if (!changed.defined()) continue;
        tensors[w.name] = changed;
        specs.push_back({w.name, changed.dtype(), changed.shape()});
      }
    }
    write_safetensors(weights(), specs, {}, [&](size_t i) { return tensors.at(specs[i].name); });
  }
  std::string refusal() {
    return message_of<UserError>([&] { DiffusionPipeline::from_pretrained(model_); });
  }
};

TEST_F(QuantizedCheckpoint, DrawsWhatQuantisingAtLoadDraws) {
  write(Quantization::int8_dynamic);
  EXPECT_LT(fs::file_size(weights()), fs::file_size(kEmoji / "unet" / "diffusion_pytorch_model.safetensors") * 4 / 5);
  const Tensor loaded = draw(model_).tensor(),
               quantised = draw(kEmoji, [](DiffusionPipeline&pipe) { apply_dynamic_quant(pipe.unet(), quantize_all); }).tensor();
  EXPECT_EQ(std::memcmp(loaded.data(), quantised.data(), loaded.bytes()), 0);
}

TEST_F(QuantizedCheckpoint, Float8WeightsAreReadBack) {
  write(Quantization::float8_weight_only);
  const Tensor loaded = draw(model_).tensor(),
               quantised = draw(kEmoji, [](DiffusionPipeline&pipe) { quantize_weight_only(pipe.unet(), DType::float8_e4m3); }).tensor();
  EXPECT_EQ(std::memcmp(loaded.data(), quantised.data(), loaded.bytes()), 0);
}

TEST_F(QuantizedCheckpoint, Float8ProductsAreThoseOfQuantisingAtLoad) {
  write(Quantization::float8_dynamic);
  const Tensor loaded = draw(model_).tensor(),
               quantised = draw(kEmoji, [](DiffusionPipeline&pipe) { apply_dynamic_quant(pipe.unet(), Quantization::float8_dynamic); }).tensor();
  EXPECT_EQ(std::memcmp(loaded.data(), quantised.data(), loaded.bytes()), 0);
}

TEST_F(QuantizedCheckpoint, WrongScalesAreRefused) {
  write(Quantization::int8_dynamic);
  const std::string scale = "time_embedding.linear_1.weight_scale";
  rewrite([&](const std::string& name, Tensor t) { return name == scale ? t.reshape({1, t.numel()}) : t; });
  EXPECT_NE(refusal().find(scale), std::string::npos) << refusal();
  rewrite([&](const std::string& name, Tensor t) { return name == scale ? Tensor() : t; });
  EXPECT_NE(refusal().find("missing: " + scale), std::string::npos) << refusal();
}

TEST_F(QuantizedCheckpoint, WrongConfigsAreRefused) {
  write(Quantization::int8_dynamic);
  edit_config({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}});
  EXPECT_NE(refusal().find("quantization_config.quant_method"), std::string::npos) << refusal();
  edit_config({{"quant_method", "vivace"}, {"quant_type", "int4"}});
  EXPECT_NE(refusal().find("quantization_config.quant_type"), std::string::npos) << refusal();
  edit_config({{"quant_method", "vivace"}, {"quant_type", "float8-weight-only"}});
  EXPECT_NE(refusal().find(".weight\" is int8"), std::string::npos) << refusal();
  edit_config(nullptr);
  EXPECT_NE(refusal().find("\"quantization_config\" is missing"), std::string::npos) << refusal();
}

TEST_F(QuantizedCheckpoint, OnlyLinearLayersMayBeNarrow) {
  write(Quantization::int8_dynamic);
  rewrite([&](const std::string& name, Tensor t) {
    return name == "conv_in.weight" ? Tensor::view(t.shape(), DType::int8, t.data(), std::make_shared<Tensor>(t)) : t;
  });
  EXPECT_NE(refusal().find("conv_in.weight"), std::string::npos) << refusal();
  EXPECT_NE(message_of<UserError>([&] { write_quantized_checkpoint(model_, folder_ / "again", {}); }).find("already"), std::string::npos);
}

}  // namespace
}  // namespace vivace
