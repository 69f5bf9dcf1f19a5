// Each pass on text, before and after: tests/passes/data/*.ir holds "# pass: name", a graph, "---", the graph that must come out. A node's scope,
// where a pass looks at it, follows it behind "#". A file without "---" holds a graph that the pass leaves as it is.
#include "passes/passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "ops/infer.h"

namespace vivace {
namespace {

void winograd_but_one(Graph& graph) {
  CompileOptions options;
  options.error_budget.layers = {{"direct", 0}};
  note_error_budget(graph, options);
  allow_winograd(graph, options);
}
void quantize_as_asked(Graph& graph) {
  CompileOptions options;
  options.quantize = {{"dynamic", Quantization::int8_dynamic},
                      {"narrow", Quantization::int8_weight_only},
                      {"float8", Quantization::float8_weight_only},
                      {"as_it_was", Quantization::none}};
  quantize(graph, options);
}
void quantize_separately(Graph& graph) {
  CompileOptions options;
  options.quantize = {{"dynamic", Quantization::int8_dynamic}, {"narrow", Quantization::int8_weight_only}};
  options.flags.force_fuse_int_mm_with_mul = options.flags.use_mixed_mm = false;
  quantize(graph, options);
}

const Target kFusing{.int16_products = true, .epilogues = true, .gates = true, .quantized_rows = true, .tile_inputs = 6, .tile_instructions = 8};
const Target kPlain;  // has no fused kernel

template <void (*pass)(Graph&, const Target&)>
void fusing(Graph& graph) {
  pass(graph, kFusing);
}
void on_plain(Graph& graph) {
  for (const auto pass : {fuse_geglu, fuse_gated_linears, fuse_modulation, fuse_norm_activation, fuse_epilogues, fuse_elementwise, fuse_quantize})
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
    {"quantize_separately", quantize_separately},
    {"fuse_quantize", fusing<fuse_quantize>},
    {"fold_constants", fold_constants},
    {"conv_1x1_as_mm", conv_1x1_as_mm},
    {"fuse_projections", fuse_projections},
    {"fuse_geglu", fusing<fuse_geglu>},
    {"fuse_gated_linears", fusing<fuse_gated_linears>},
    {"fuse_modulation", fusing<fuse_modulation>},
    {"fuse_upsample_convolution", fuse_upsample_convolution},
    {"fuse_norm_activation", fusing<fuse_norm_activation>},
    {"fuse_epilogues", fusing<fuse_epilogues>},
    {"allow_winograd", winograd_but_one},
    {"allow_strassen", [](Graph& graph) { allow_strassen(graph, {}); }},
    {"allow_int16", [](Graph& graph) { allow_int16(graph, {}, kFusing); }},
    {"on_plain", on_plain},
    {"matmul_precision_high", [](Graph& graph) { lower_matmul_precision(graph, MatmulPrecision::high); }},
    {"matmul_precision_medium", [](Graph& graph) { lower_matmul_precision(graph, MatmulPrecision::medium); }},
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

TEST_P(Passes, BeforeAndAfter) {
  std::ifstream file(std::filesystem::path(VIVACE_TEST_DATA) / cat(GetParam(), ".ir"));
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str(), first_line = text.substr(0, text.find('\n')), name = first_line.substr(std::string("# pass: ").size());
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

INSTANTIATE_TEST_SUITE_P(Files, Passes, testing::ValuesIn(files()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace vivace
