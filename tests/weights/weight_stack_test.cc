// Layers over a checkpoint's weights: as text, and what their nodes stand for.
#include "weights/weight_stack.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "ops/infer.h"
#include "passes/passes.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// A file of tensors with these names and shapes, each holding 0, 1, 2, ...
void save_weights(const fs::path& path, const std::vector<std::pair<std::string, Shape>>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, shape] : tensors) specs.push_back({name, DType::float16, shape});
  write_safetensors(path, specs, {}, [&](size_t i) {
    Tensor t(specs[i].shape, float32);
    for (size_t k = 0; k < t.floats().size(); ++k) t.floats()[k] = static_cast<float>(k);
    return t.to(DType::float16);
  });
}

// A checkpoint whose names differ, and which holds two matrices in one.
class Names final : public WeightLayer {
 public:
  std::optional<ModelWeight> find(std::string_view name, const Below& below) const override {
    if (name == "first.weight") return rows(*below("both.weight"), 0, 2);
    if (name == "second.weight") return rows(*below("both.weight"), 2, 3);
    if (name == "turned.weight")
      return made_of({*below("other.weight")}, DType::float16, {3, 2}, [](Builder& b, std::span<const Value> x) {
        return b.transpose(x[0], {1, 0});
      });
    return below(name);
  }
  std::string structure() const override { return "names"; }
};

// Twice as much, and a number more.
class More final : public WeightLayer {
 public:
  explicit More(float number) : number_(number) {}
  std::optional<ModelWeight> find(std::string_view name, const Below& below) const override {
    const auto beneath = below(name);
    if (!beneath || name == "plain.weight") return beneath;
    return made_of({*beneath, as_stored(stored(Tensor::from({number_})))}, float32, beneath->shape, [](Builder& b, std::span<const Value> x) {
      const Value wide = b.cast(x[0], float32);
      return b.add(b.add(wide, wide), x[1]);
    });
  }
  std::string structure() const override { return "more"; }

 private:
  float number_;
};

class WeightStacks : public testing::Test {
 protected:
  void SetUp() override {
    save_weights(folder_ / "w.safetensors", {{"both.weight", {3, 4}}, {"other.weight", {2, 3}}, {"plain.weight", {4}}});
    files_ = WeightStack(WeightMap::open(folder_ / "w.safetensors"), {});
    named_ = files_.over({std::make_shared<Names>()});
  }
  static std::string resolved(const std::string& text, const WeightStack& stack) {
    Graph graph = parse_graph(text);
    resolve_weights(graph, stack);
    verify(graph, GraphStage::compiling);
    return print(graph);
  }

  TempFolder folder_;
  WeightStack files_, named_;
};

TEST_F(WeightStacks, WhatIsAsStoredStaysAWeight) {
  const std::string text = R"(%0 = input(name="x") : float32[1, 4]
%1 = weight(name="first.weight") : float16[2, 4] @prepare
%2 = linear(%0, %1) : float32[1, 2]
return y=%2
)";
  EXPECT_EQ(resolved(text, named_), text) << "rows are where they lie";
  const WeightSource source = named_.source();
  const auto* both = static_cast<const std::byte*>(files_.files().at("both.weight").data);
  EXPECT_EQ(source.find("first.weight").data, both);
  EXPECT_EQ(source.find("second.weight").data, both + 16);
  EXPECT_NE(source.origin("first.weight"), source.origin("second.weight"));
  EXPECT_NE(source.origin("first.weight"), files_.source().origin("both.weight"));
  EXPECT_EQ(source.origin("plain.weight"), files_.source().origin("plain.weight"));
  EXPECT_EQ(named_.find("first.weight")->shape, (Shape{2, 4}));
  EXPECT_EQ(named_.find("no.weight"), nullptr);
  EXPECT_EQ(named_.find_stored("turned.weight"), nullptr);
  EXPECT_EQ(named_.find_stored("second.weight")->shape, (Shape{1, 4}));
  EXPECT_THROW(source.find("no.weight"), UserError);
}

TEST_F(WeightStacks, LayersArePlainOpsOverWhatLiesBeneath) {
  const WeightStack stack = named_.over({std::make_shared<More>(1.F), std::make_shared<More>(2.F)});
  EXPECT_EQ(resolved(R"(%0 = input(name="x") : float32[1, 2]
%1 = weight(name="turned.weight") : float32[3, 2] @prepare
%2 = linear(%0, %1) : float32[1, 3]
return y=%2
)",
                     stack),
            R"(%0 = input(name="x") : float32[1, 2]
%1 = weight(name="turned.weight.0") : float16[2, 3] @prepare
%2 = weight(name="turned.weight.1") : float32[1] @prepare
%3 = weight(name="turned.weight.2") : float32[1] @prepare
%4 = transpose(%1, perm=[1, 0]) : float16[3, 2] @prepare
%5 = cast(%4, to="float32") : float32[3, 2] @prepare
%6 = add(%5, %5) : float32[3, 2] @prepare
%7 = add(%6, %2) : float32[3, 2] @prepare
%8 = add(%7, %7) : float32[3, 2] @prepare
%9 = add(%8, %3) : float32[3, 2] @prepare
%10 = linear(%0, %9) : float32[1, 3]
return y=%10
)");
  const WeightSource source = stack.source();
  EXPECT_EQ(*static_cast<const float*>(source.find("turned.weight.2").data), 2.F);
  EXPECT_EQ(source.origin("turned.weight.0"), files_.source().origin("other.weight"));
  EXPECT_EQ(source.origin("turned.weight.1"), named_.over({std::make_shared<More>(1.F)}).source().origin("first.weight.1"))
      << "a number is what it is";
  EXPECT_NE(source.origin("turned.weight.1"), source.origin("turned.weight.2"));
  EXPECT_EQ(stack.structure(), "names\nmore\nmore\n");
}

TEST_F(WeightStacks, CheckKnowsWhatWeightsAreMadeOf) {
  EXPECT_TRUE(named_.check(std::vector<ExpectedWeight>{{"first.weight", {2, 4}}, {"turned.weight", {3, 2}}, {"plain.weight", {4}}}));
  const std::string message = message_of<UserError>([&] { named_.check(std::vector<ExpectedWeight>{{"second.weight", {2, 4}}, {"gone", {1}}}); });
  EXPECT_NE(message.find("1 missing: gone; 2 not expected: other.weight, plain.weight; 1 of another shape: second.weight ([1, 4], expected [2, 4])"),
            std::string::npos)
      << message;
}

TEST(WeightStack, CheckNamesEverythingAtOnce) {
  const TempFolder folder;
  save_weights(folder / "model.safetensors",
               {{"a", {2}}, {"b", {2}}, {"text_model.embeddings.position_ids", {2}}, {"vision_model.x", {2}}, {"logit_scale", {2}}});
  const WeightStack stack(WeightMap::open(folder.path()), {});
  const std::vector<std::string> ignored{"vision_model.", "logit_scale"};
  EXPECT_TRUE(stack.check(std::vector<ExpectedWeight>{{"a", {2}}, {"b", {2}}}, ignored));
  EXPECT_FALSE(stack.check(std::vector<ExpectedWeight>{{"a", {2}}}, ignored)) << "a warning";
  const std::vector<ExpectedWeight> expected{{"a", {2, 1}}, {"c", {3}}, {"d", {3}}};
  EXPECT_EQ(message_of<UserError>([&] { stack.check(expected, ignored); }),
            folder.path().string() +
                ": the weights do not fit config.json: 2 missing: c, d; 1 not expected: b; 1 of another shape: a ([2], expected [2, 1]); check that "
                "both come from the "
                "same model");
  std::vector<ExpectedWeight> many;
  for (int i = 0; i < 1000; ++i) many.push_back({cat("layer.", i), {2}});
  const std::string message = message_of<UserError>([&] { stack.check(many); });
  EXPECT_NE(message.find("1000 missing: layer.0, layer.1, "), std::string::npos);
  EXPECT_NE(message.find("layer.11 and 988 more; 4 not expected: a, b, logit_scale, vision_model.x;"), std::string::npos) << message;
}

}  // namespace
}  // namespace vivace
