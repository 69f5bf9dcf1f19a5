// Each pass on text, before and after: tests/passes/data/*.ir holds "# pass: name", a graph, "---", the graph that must come out. A node's scope,
// where a pass looks at it, follows it behind "#". A file without "---" holds a graph that the pass leaves as it is. What a pass is configured with
// here is a word behind its name.
#include "passes/passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/log.h"
#include "compiler/compile.h"
#include "ops/infer.h"

namespace vivace {
namespace {

void note_budgets(Graph& graph) {
  CompileOptions options;
  options.error_budget.layers = {{"direct", 0}, {"loose", 0.25}};
  note_error_budget(graph, options);
}
void winograd_but_one(Graph& graph) {
  note_budgets(graph);
  allow_winograd(graph, {});
}
void quantize_as_asked(Graph& graph) {
  CompileOptions options;
  options.quantize = {{"dynamic", Quantization::int8_dynamic},           {"rotated", Quantization::int8_dynamic_rotated},
                      {"narrow", Quantization::int8_weight_only},        {"float8", Quantization::float8_weight_only},
                      {"float8_products", Quantization::float8_dynamic}, {"as_it_was", Quantization::none}};
  quantize(graph, options);
}
void quantize_separately(Graph& graph) {
  CompileOptions options;
  options.quantize = {{"dynamic", Quantization::int8_dynamic}, {"narrow", Quantization::int8_weight_only}};
  options.flags.force_fuse_int_mm_with_mul = options.flags.use_mixed_mm = false;
  quantize(graph, options);
}

const Target kFusing{
    .int16_products = true, .epilogues = true, .gates = true, .blocks = true, .quantized_rows = true, .tile_inputs = 6, .tile_instructions = 8};
const Target kPlain;  // has no fused kernel

template <void (*pass)(Graph&, const Target&)>
void fusing(Graph& graph) {
  pass(graph, kFusing);
}
void on_plain(Graph& graph) {
  for (const auto pass : {keep_blocks, fuse_geglu, fuse_gated_linears, fuse_modulation, fuse_rotary, fuse_norm_activation, fuse_epilogues,
                          fuse_elementwise, fuse_quantize})
    pass(graph, kPlain);
  allow_int16(graph, {}, kPlain);
}

struct NamedPass {
  const char* name;
  void (*run)(Graph&);
};
constexpr NamedPass kPasses[] = {
    {"cse", eliminate_common_subexpressions},
    {"quantize", quantize_as_asked},
    {"quantize separately", quantize_separately},
    {"keep_blocks", fusing<keep_blocks>},
    {"fuse_quantize", fusing<fuse_quantize>},
    {"fold_constants", fold_constants},
    {"conv_1x1_as_mm", conv_1x1_as_mm},
    {"note_error_budget", note_budgets},
    {"fuse_projections", fuse_projections},
    {"fuse_geglu", fusing<fuse_geglu>},
    {"fuse_gated_linears", fusing<fuse_gated_linears>},
    {"fuse_modulation", fusing<fuse_modulation>},
    {"fuse_rotary", fusing<fuse_rotary>},
    {"fuse_upsample_convolution", fuse_upsample_convolution},
    {"fuse_norm_activation", fusing<fuse_norm_activation>},
    {"fuse_epilogues", fusing<fuse_epilogues>},
    {"allow_winograd", winograd_but_one},
    {"allow_strassen", [](Graph& graph) { allow_strassen(graph, {}); }},
    {"allow_int16", [](Graph& graph) { allow_int16(graph, {}, kFusing); }},
    {"on_plain", on_plain},
    {"lower_matmul_precision high", [](Graph& graph) { lower_matmul_precision(graph, MatmulPrecision::high); }},
    {"lower_matmul_precision medium", [](Graph& graph) { lower_matmul_precision(graph, MatmulPrecision::medium); }},
    {"fuse_elementwise", fusing<fuse_elementwise>},
    {"join_concats", join_concats},
    {"float32_operands", float32_operands},
    {"assign_phases", assign_phases},
    {"hoist_step_invariant", hoist_step_invariant},
    {"schedule_time_embedding", schedule_time_embedding},
};

std::vector<std::string> files() {
  std::vector<std::string> result;
  for (const auto& entry : std::filesystem::directory_iterator(VIVACE_TEST_DATA)) result.push_back(entry.path().stem().string());
  std::ranges::sort(result);
  return result;
}

class Passes : public testing::TestWithParam<std::string> {};

struct Case {
  std::string text, name;  // the name of the pass with what it is configured with
};

Case read_case(const std::string& file_name) {
  std::ifstream file(std::filesystem::path(VIVACE_TEST_DATA) / cat(file_name, ".ir"));
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str(), first_line = text.substr(0, text.find('\n'));
  return {text, first_line.substr(std::string("# pass: ").size())};
}

TEST_P(Passes, BeforeAndAfter) {
  const auto [text, name] = read_case(GetParam());
  const size_t middle = std::min(text.find("\n---\n"), text.size() - 1);
  const bool stays = middle == text.size() - 1;
  const auto pass = std::ranges::find(kPasses, name, [](const NamedPass& p) { return std::string(p.name); });
  ASSERT_NE(pass, std::end(kPasses)) << name;
  Graph graph = parse_graph(text.substr(0, middle + 1));
  ASSERT_NO_THROW(verify(graph, GraphStage::compiling));
  pass->run(graph);
  EXPECT_NO_THROW(verify(graph, GraphStage::compiling));
  Graph expected = parse_graph(stays ? text : text.substr(middle + 5));
  if (stays) expected.normalize(), graph.normalize();
  EXPECT_EQ(print(graph), print(expected));
  const std::string once = print(graph);
  pass->run(graph);
  EXPECT_EQ(print(graph), once) << "a second run changes more";
}

// Where a pass must do something is half of what it is; the other half is what it must leave alone.
TEST(PassCases, EveryPassHasOneThatItChangesAndOneThatItLeaves) {
  std::set<std::string> changed, left;
  for (const std::string& file : files()) {
    const std::string name = read_case(file).name;
    (file.ends_with("_stays") ? left : changed).insert(name.substr(0, name.find(' ')));
  }
  for (const PassInfo& pass : pass_list()) {
    EXPECT_TRUE(changed.contains(std::string(pass.name))) << pass.name;
    EXPECT_TRUE(left.contains(std::string(pass.name))) << pass.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Passes, testing::ValuesIn(files()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace vivace
