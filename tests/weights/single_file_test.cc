// Names in single files and which models those are, against what Diffusers' converters take (tools/golden/single_files.py).
#include <gtest/gtest.h>

#include <set>

#include "base/json.h"
#include "base/log.h"
#include "read_gzip.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/known_checkpoints.h"
#include "weights/spellings.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

const Json& golden() {
  static const Json data = strict_json(read_gzip(VIVACE_TEST_DATA "/single_files.json.gz"));
  return data;
}

std::vector<WeightInfo> tensors_of(const Json& rows) {
  std::vector<WeightInfo> tensors;
  for (const Json& row : rows) tensors.push_back({.name = row[0], .shape = row[1].get<Shape>()});
  return tensors;
}

std::vector<WeightInfo> named(const std::vector<std::string>& names) {
  std::vector<WeightInfo> tensors;
  for (const std::string& name : names) tensors.push_back({.name = name, .shape = {2}});
  return tensors;
}

std::string class_of(const std::string& model, const std::string& part) {
  if (part == "unet") return "UNet2DConditionModel";
  if (part == "vae") return "AutoencoderKL";
  if (part == "transformer") return "FluxTransformer2DModel";
  if (part == "text_encoder") return "CLIPTextModel";
  return model.starts_with("flux") ? "T5EncoderModel" : "CLIPTextModelWithProjection";
}

// How the rules must change what the file holds for the weight that is the `part`th of a row.
FileName expected(const Json& row, size_t part) {
  FileName name{row[0], {}, Change::none};
  const std::string how = row[2];
  const int i = static_cast<int>(part), parts = static_cast<int>(row[4].size());
  if (how == "rows") name.rows = parts == 3 ? RowPart{i, i + 1, 3} : i < 3 ? RowPart{i, i + 1, 7} : RowPart{3, 7, 7};
  if (how == "transpose") name.change = Change::transpose;
  if (how == "swap") name.change = Change::swap_halves;
  return name;
}

TEST(SingleFile, NamesAreThoseThatDiffusersConverts) {
  for (const auto& [model, rows] : golden()["full"].items()) {
    std::vector<std::string> all;
    for (const Json& row : rows) all.push_back(row[0]);
    std::map<std::string, const Spelling*> spellings;
    std::map<std::string, RuleNumbers> numbers;
    for (const Json& row : rows) {
      const std::string file = row[0], part = row[3];
      if (!spellings.contains(part)) {
        for (const Spelling& s : spellings_of(class_of(model, part)))
          if (!spellings[part] && std::ranges::count(all, cat(s.prefix, s.probe))) spellings[part] = &s;
        ASSERT_TRUE(spellings[part]) << model << ' ' << part;
        std::vector<std::string_view> bare;
        for (std::string_view name : all)
          if (name.starts_with(spellings[part]->prefix)) bare.push_back(name.substr(spellings[part]->prefix.size()));
        numbers[part] = count_numbers(spellings[part]->numbers, bare);
      }
      for (size_t i = 0; i < row[4].size(); ++i) {
        const FileName want = expected(row, i);
        bool found = false;
        for (FileName name : file_names(spellings[part]->rules, numbers[part], row[4][i].get<std::string>())) {
          name.name = cat(spellings[part]->prefix, name.name);
          if (name.name != want.name) continue;
          found = true;
          EXPECT_EQ(name.rows, want.rows) << name.name;
          // A convolution or a matrix: either is taken where the file may hold both.
          EXPECT_TRUE(name.change == want.change || name.change == Change::matrix) << name.name;
          EXPECT_TRUE(row[2] != "conv" || name.change == Change::matrix) << name.name;
        }
        EXPECT_TRUE(found) << model << ": " << row[4][i] << " is not " << file;
      }
    }
  }
}

TEST(SingleFile, ModelsAreKnownByNamesAndShapes) {
  for (const auto& [model, rows] : golden()["full"].items()) {
    const std::vector<WeightInfo> tensors = tensors_of(rows);
    EXPECT_EQ(known_checkpoint(tensors, "x.safetensors"), model);
    // As GGUF stores it, in bytes.
    std::vector<WeightInfo> blocks = tensors;
    for (WeightInfo& tensor : blocks)
      if (tensor.shape.size() == 2 && tensor.shape[1] % 32 == 0) {
        tensor.format = BlockFormat::q8_0;
        tensor.shape[1] = tensor.shape[1] / 32 * 34;
      }
    EXPECT_EQ(known_checkpoint(blocks, "x.gguf"), model);
    // The denoiser alone, with and without its prefix.
    std::vector<WeightInfo> alone, bare;
    for (WeightInfo tensor : tensors) {
      constexpr std::string_view kPrefix = "model.diffusion_model.";
      const bool flux = model.starts_with("flux");
      if (flux ? tensor.name.starts_with("vae.") || tensor.name.starts_with("text_encoders.") : !tensor.name.starts_with(kPrefix)) continue;
      if (!flux) tensor.name = tensor.name.substr(kPrefix.size());
      bare.push_back(tensor);
      tensor.name = cat(kPrefix, tensor.name);
      alone.push_back(tensor);
    }
    EXPECT_EQ(known_checkpoint(alone, "x.safetensors"), model);
    EXPECT_EQ(known_checkpoint(bare, "x.safetensors"), model);
    // In Diffusers' names, as far as these tell.
    std::vector<WeightInfo> ours;
    for (const Json& row : rows)
      if (row[3] == "unet" || row[3] == "transformer")
        for (const Json& name : row[4]) ours.push_back({.name = name, .shape = row[1].get<Shape>()});
    EXPECT_EQ(known_checkpoint(ours, "x.safetensors"), model);
  }
}

TEST(SingleFile, OtherModelsAreRefusedByName) {
  const auto refusal = [](const std::vector<WeightInfo>& tensors) {
    return message_of<UserError>([&] { known_checkpoint(tensors, "model.safetensors"); });
  };
  EXPECT_EQ(
      refusal(named({"a.weight", "b.weight"})).find("model.safetensors: its 2 tensors are of no model that is known by them (\"a.weight\", ...)"),
      0u);
  EXPECT_NE(refusal({}).find("its 0 tensors are of no model"), std::string::npos);
  EXPECT_NE(refusal(named({"joint_blocks.0.context_block.attn.qkv.weight"})).find("it holds Stable Diffusion 3, which is not supported"),
            std::string::npos);
  EXPECT_NE(refusal(named({"lora_unet_down_blocks_0.lora_down.weight"})).find("it holds a LoRA, not a model"), std::string::npos);
  std::vector<WeightInfo> fill = tensors_of(golden()["full"]["flux-dev"]);
  for (WeightInfo& tensor : fill)
    if (tensor.name == "img_in.weight") tensor.shape[1] = 384;
  EXPECT_NE(refusal(fill).find("FLUX.1 Fill"), std::string::npos);
  std::vector<WeightInfo> playground = tensors_of(golden()["full"]["sdxl-base"]);
  for (const char* name : {"edm_mean", "edm_std"}) playground.push_back({.name = name, .shape = {1, 4, 1, 1}});
  EXPECT_NE(refusal(playground).find("it holds Playground v2.5, which is not supported"), std::string::npos);
}

TEST(SingleFile, RulesReckonWithNumbers) {
  static constexpr RestRule kRest[] = {{"norm1", "in.0"}};
  static constexpr NameRule kRules[] = {
      {"a.{b}.c.{l}.*", "x.{L*b+l+1}.*", kRest}, {"a.{b}.d.*", "x.{N-1-b}.*"}, {"a.{b}.d.*", "y.{2*b}.*", {}, {1, 2, 3}, Change::transpose}};
  const RuleNumbers numbers{{'L', 3}, {'N', 4}};
  const auto names = [&](std::string_view weight) {
    std::string text;
    for (const FileName& name : file_names(kRules, numbers, weight)) text += name.name + ' ';
    return text;
  };
  EXPECT_EQ(names("a.2.c.1.norm1.weight"), "x.8.in.0.weight ");
  EXPECT_EQ(names("a.2.c.1.norm10.weight"), "");  // what `*` becomes is a list
  EXPECT_EQ(names("a.2.c.01.norm1.weight"), "");
  EXPECT_EQ(names("a.x.c.1.norm1.weight"), "");
  EXPECT_EQ(names("a.1.d.w"), "x.2.w y.2.w ");
  EXPECT_EQ(names("a.99999999999999999999.d.w"), "");

  static constexpr CountedNumber kCounted[] = {{'L', "i.{n}.op", CountedNumber::least}, {'N', "up.{n}.*", CountedNumber::count}};
  const std::vector<std::string_view> all{"i.6.op", "i.3.op", "i.3.no", "up.0.a", "up.2.b"};
  EXPECT_EQ(count_numbers(kCounted, all), (RuleNumbers{{'L', 3}, {'N', 3}}));
  EXPECT_EQ(count_numbers(kCounted, {}), (RuleNumbers{{'L', 0}, {'N', 0}}));
}

TEST(SingleFile, SaysHowItPredicts) {
  const auto said = [](const std::vector<std::string>& names, const Metadata& metadata) {
    const FilePrediction found = file_prediction(named(names), metadata);
    return cat(found.type, found.zero_snr ? " zero snr" : "");
  };
  EXPECT_EQ(said({"w"}, {}), "");
  EXPECT_EQ(said({"w", "v_pred"}, {}), "v_prediction");
  EXPECT_EQ(said({"v_pred", "ztsnr"}, {}), "v_prediction zero snr");
  EXPECT_EQ(said({"w"}, {{"modelspec.prediction_type", "v"}}), "v_prediction");
  EXPECT_EQ(said({"w"}, {{"modelspec.prediction_type", "epsilon"}}), "epsilon");
  EXPECT_EQ(said({"w"}, {{"modelspec.prediction_type", "unheard of"}}), "");
}

}  // namespace
}  // namespace vivace
