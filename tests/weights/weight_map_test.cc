#include "weights/weight_map.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// A file of [2] tensors with these names, each holding {value, 2}.
void save(const fs::path& path, const std::vector<std::string>& names, float value = 1, DType dtype = float32) {
  std::vector<TensorSpec> specs;
  for (const std::string& name : names) specs.push_back({name, dtype, {2}});
  write_safetensors(path, specs, {}, [&](size_t) { return Tensor::from({value, 2}).to(dtype); });
}

std::string open_error(const fs::path& path, std::string_view variant = "") {
  return message_of<UserError>([&] { WeightMap::open(path, variant); });
}

float first(const WeightMap& map, std::string_view name) { return map.tensor(name).to(float32).floats()[0]; }

TEST(WeightMap, OneFileOfEitherName) {
  for (const char* name : {"diffusion_pytorch_model.safetensors", "model.safetensors"}) {
    const TempFolder folder;
    save(folder / name, {"b", "a"});
    const WeightMap map = WeightMap::open(folder.path());
    EXPECT_EQ(map.size(), 2u);
    EXPECT_EQ(map.weights()[0].name, "a");
    EXPECT_EQ(map.total_elements(), 4);
    EXPECT_EQ(map.at("b").shape, Shape{2});
    EXPECT_EQ(map.at("b").file, (folder / name).string());
    EXPECT_EQ(map.find("c"), nullptr);
    EXPECT_EQ(message_of<UserError>([&] { map.at("c"); }), folder.path().string() + ": tensor \"c\" is missing");
    EXPECT_FALSE(map.is_variant());
    EXPECT_EQ(WeightMap::open(folder / name).size(), 2u) << "a file is taken too";
  }
}

TEST(WeightMap, TensorsOutliveTheMap) {
  const TempFolder folder;
  save(folder / "model.safetensors", {"a"}, 7);
  Tensor a;
  {
    const WeightMap map = WeightMap::open(folder.path());
    a = map.tensor("a");
    EXPECT_EQ(a.data(), map.at("a").data) << "not copied";
  }
  EXPECT_EQ(a.floats()[0], 7.f);
}

TEST(WeightMap, VariantsAndWhatIsUsedWithoutThem) {
  const TempFolder folder;
  save(folder / "diffusion_pytorch_model.safetensors", {"a"}, 32);
  save(folder / "diffusion_pytorch_model.fp16.safetensors", {"a"}, 16, float16);
  EXPECT_EQ(first(WeightMap::open(folder.path()), "a"), 32.f);
  const WeightMap half = WeightMap::open(folder.path(), "fp16");
  EXPECT_EQ(first(half, "a"), 16.f);
  EXPECT_EQ(half.at("a").dtype, float16);
  EXPECT_TRUE(half.is_variant());
  const WeightMap ema = WeightMap::open(folder.path(), "ema");
  EXPECT_EQ(first(ema, "a"), 32.f);
  EXPECT_FALSE(ema.is_variant());
  fs::remove(folder / "diffusion_pytorch_model.safetensors");
  EXPECT_EQ(open_error(folder.path()),
            folder.path().string() + ": no weights found, but there is diffusion_pytorch_model.fp16.safetensors: ask for variant \"fp16\"");
  EXPECT_NE(open_error(folder.path(), "ema").find("for variant \"ema\" nor without, but there is"), std::string::npos);
  EXPECT_THROW(WeightMap::open(folder.path(), "../fp16"), UsageError);
}

TEST(WeightMap, Shards) {
  struct Case {
    const char *variant, *index, *one, *two;
  };
  const Case cases[] = {
      {"", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
      {"", "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model-00001-of-00002.safetensors",
       "diffusion_pytorch_model-00002-of-00002.safetensors"},
      {"fp16", "model.safetensors.index.fp16.json", "model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"},
      {"fp16", "diffusion_pytorch_model.safetensors.fp16.index.json", "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
       "diffusion_pytorch_model-00002-of-00002.fp16.safetensors"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.index);
    const TempFolder folder;
    save(folder / c.one, {"a", "b"}, 1);
    save(folder / c.two, {"c"}, 2);
    write_file(folder / c.index,
               cat(R"({"metadata":{"total_size":24},"weight_map":{"a":")", c.one, R"(","b":")", c.one, R"(","c":")", c.two, "\"}}"));
    const WeightMap map = WeightMap::open(folder.path(), c.variant);
    EXPECT_EQ(map.size(), 3u);
    EXPECT_EQ(map.files().size(), 2u);
    EXPECT_EQ(first(map, "b"), 1.f);
    EXPECT_EQ(first(map, "c"), 2.f);
    EXPECT_EQ(map.is_variant(), *c.variant != 0);
    fs::remove(folder / c.two);
    EXPECT_EQ(open_error(folder.path(), c.variant),
              cat((folder / c.index).string(), ": 1 of 2 shards missing: ", c.two, ": copy or download them next to the index"));
  }
}

TEST(WeightMap, IndexThatDoesNotFit) {
  const TempFolder folder;
  save(folder / "model-1.safetensors", {"a", "b"});
  save(folder / "model-2.safetensors", {"b"});
  const std::string index = (folder / "model.safetensors.index.json").string();
  const auto error = [&](const std::string& text) {
    write_file(index, text);
    const std::string message = open_error(folder.path());
    EXPECT_TRUE(message.starts_with(folder.path().string())) << message;
    return message;
  };
  EXPECT_EQ(error(R"({"weight_map":{"a":"model-1.safetensors","x":"model-1.safetensors","y":"model-1.safetensors"}})"),
            index + ": 2 tensors are not in the shard that the index names: x (model-1.safetensors), y (model-1.safetensors)");
  EXPECT_EQ(error(R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})"),
            cat(folder.path().string(), ": tensor \"b\" is there twice: in ", (folder / "model-1.safetensors").string(), " and ",
                (folder / "model-2.safetensors").string()));
  EXPECT_NE(error(R"({"weight_map":{"a":"../model-1.safetensors"}})").find("in the same folder, got \"../model-1.safetensors\""), std::string::npos);
  EXPECT_NE(error(R"({"weight_map":{"a":"/etc/passwd"}})").find("in the same folder"), std::string::npos);
  EXPECT_EQ(error(R"({"weight_map":{"a":3}})"), index + ": field \"weight_map.a\": expected a string, got 3");
  EXPECT_EQ(error(R"({"weight_map":[]})"), index + ": field \"weight_map\": expected an object, got []");
  EXPECT_EQ(error("{}"), index + ": field \"weight_map\" is missing: expected an object");
  EXPECT_NE(error("{").find("not valid JSON"), std::string::npos);
}

TEST(WeightMap, SaysWhatIsThereInstead) {
  const TempFolder folder;
  EXPECT_EQ(open_error(folder / "unet"), (folder / "unet").string() + ": folder not found: expected the folder of a model component");
  EXPECT_EQ(open_error(folder / "x.safetensors"), (folder / "x.safetensors").string() + ": file not found");
  EXPECT_NE(open_error(folder.path()).find("expected diffusion_pytorch_model.safetensors, model.safetensors or an index"), std::string::npos);
  write_file(folder / "diffusion_pytorch_model.bin", "pickle");
  const std::string bin = open_error(folder.path());
  EXPECT_NE(
      bin.find("only diffusion_pytorch_model.bin: a pickle is not opened, since reading one can run code that it holds: convert it (in Python: "),
      std::string::npos)
      << bin;
  write_file(folder / "model-00001-of-00002.safetensors", "x");
  EXPECT_NE(open_error(folder.path()).find("or an index such as model.safetensors.index.json, found model-00001-of-00002.safetensors"),
            std::string::npos);
  write_file(folder / "model.safetensors", "garbage");
  EXPECT_TRUE(open_error(folder.path()).starts_with((folder / "model.safetensors").string() + ": not a valid safetensors file: "));
  EXPECT_NE(open_error(folder / "diffusion_pytorch_model.bin").find("not a valid safetensors file: it has 6 bytes"), std::string::npos);
}

TEST(WeightMap, OldAttentionNamesBecomeTheNewOnes) {
  const TempFolder folder;
  save(folder / "diffusion_pytorch_model.safetensors",
       {"mid_block.attentions.0.query.weight", "mid_block.attentions.0.key.bias", "mid_block.attentions.0.value.weight",
        "mid_block.attentions.0.proj_attn.weight", "attentions.query.weight", "down.attentions.0.transformer.query.weight", "query.weight", "x"});
  const WeightMap map = WeightMap::open(folder.path());
  std::vector<std::string> names;
  for (const WeightInfo& weight : map.weights()) names.push_back(weight.name);
  EXPECT_EQ(names, (std::vector<std::string>{"attentions.query.weight", "down.attentions.0.transformer.query.weight",
                                             "mid_block.attentions.0.to_k.bias", "mid_block.attentions.0.to_out.0.weight",
                                             "mid_block.attentions.0.to_q.weight", "mid_block.attentions.0.to_v.weight", "query.weight", "x"}));
}

TEST(WeightMap, TextEncodersGetTheirPrefix) {
  const TempFolder folder;
  save(folder / "model.safetensors", {"embeddings.token_embedding.weight", "encoder.layers.0.mlp.fc1.bias", "text_projection.weight"});
  const WeightMap map = WeightMap::open(folder.path());
  for (const char* name : {"text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.mlp.fc1.bias", "text_projection.weight"})
    EXPECT_NE(map.find(name), nullptr) << name;
}

TEST(WeightMap, IsFiniteFindsOneBadValueInEachDType) {
  for (const DType dtype : {float32, float16, bfloat16, DType::float64, DType::float8_e4m3}) {
    const bool has_infinity = dtype != DType::float8_e4m3;
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      if (std::isinf(bad) && !has_infinity) continue;
      for (const size_t place : {0, 70000, 99999}) {
        Tensor values = Tensor::full({100000}, has_infinity ? -65504.f : -448.f);  // the largest finite values
        const auto finite = [&] {
          const Tensor stored = values.to(dtype);
          return is_finite({"w", dtype, stored.shape(), stored.data(), stored.bytes(), ""});
        };
        EXPECT_TRUE(finite());
        values.floats()[place] = bad;
        EXPECT_FALSE(finite()) << dtype_name(dtype) << " " << bad << " at " << place;
      }
    }
  }
}

TEST(WeightMap, CheckFiniteNamesTheTensors) {
  const TempFolder folder;
  save(folder / "model.safetensors", {"a", "b"}, NAN, float16);
  EXPECT_EQ(message_of<UserError>([&] { WeightMap::open(folder.path()).check_finite(); }),
            folder.path().string() + ": 2 tensors hold a NaN or infinity: a, b; the file is damaged or was converted badly: get it again");
  save(folder / "model.safetensors", {"a", "b"}, 3e38f);
  EXPECT_NO_THROW(WeightMap::open(folder.path()).check_finite());
}

TEST(WeightMap, TheModelInTheRepository) {
  const fs::path model = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl";
  if (!fs::exists(model)) GTEST_SKIP() << "assets/emoji-xl is not there";
  for (const char* component : {"unet", "vae", "text_encoder", "text_encoder_2"}) {
    const WeightMap map = WeightMap::open(model / component);
    EXPECT_GT(map.size(), 10u);
    EXPECT_NO_THROW(map.check_finite());
    for (const WeightInfo& weight : map.weights()) EXPECT_EQ(weight.dtype, float16) << weight.name;
  }
}

}  // namespace
}  // namespace vivace
