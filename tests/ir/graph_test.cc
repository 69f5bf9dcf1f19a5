// The graph's text form, its verifier and normalize().
#include "ir/graph.h"

#include <gtest/gtest.h>

#include "../comma_locale.h"
#include "base/log.h"
#include "ops/builder.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace {
namespace {

Graph small_graph() {
  Builder b(DType::bfloat16);
  const Value x = b.input("x", DType::bfloat16, {2, 4, 4, 8});
  const auto scope = b.scope("conv");
  Value h = b.conv2d(x, b.weight("weight", {16, 8, 3, 3}), b.weight("bias", {16}), 1, {1, 1, 1, 1});
  h = b.affine(b.activation(h, "silu"), 0.5, -1e-3);
  b.output("y", b.attention(b.flatten_hw(h), b.flatten_hw(h), b.flatten_hw(h), {}, 2, 0.25, false));
  return b.take();
}

TEST(Graph, TextReadsBackTheSame) {
  const std::string text = print(small_graph());
  EXPECT_EQ(print(parse_graph(text)), text);
}

TEST(Graph, TextIsTheSameInAnyLocale) {
  const std::string text = print(small_graph());
  const CommaLocale german;
  if (!german.is_there()) GTEST_SKIP() << "no German locale, and what makes one is not installed";
  EXPECT_EQ(print(small_graph()), text);
  EXPECT_EQ(print(parse_graph(text)), text);
}

TEST(Graph, TextErrorsNameTheLine) {
  for (const char* bad : {"%0 = inputt() : float32[1]\n", "%0 = input( : float32[1]\n", "%1 = silu(%0) : float32[1]\n", "%0 = input() : float99[1]\n",
                          "return y=%3\n"}) {
    try {
      parse_graph(std::string("# a comment\n") + bad);
      ADD_FAILURE() << bad;
    } catch (const UserError& error) {
      if (std::string(bad).find("float99") == std::string::npos) {
        EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
      }
    }
  }
}

TEST(Graph, NormalizeDropsWhatNoOutputNeedsAndSorts) {
  Graph g = small_graph();
  const NodeId before = g.size();
  Node dead = g[0];
  dead.op = Op::silu;
  dead.inputs = {0};
  dead.attrs = {};
  g.add(dead);
  // A node at the end that an earlier one reads.
  Node late = g[0];
  late.op = Op::relu;
  late.inputs = {0};
  late.attrs = {};
  const NodeId relu = g.add(late);
  for (Node& node : g.nodes)
    if (node.op == Op::conv2d) node.inputs[0] = relu;
  g.normalize();
  EXPECT_EQ(g.size(), before + 1);  // the relu came, the dead silu is gone
  EXPECT_NO_THROW(verify(g, GraphStage::model));
}

TEST(Graph, VerifierNamesWhatIsBroken) {
  const Graph good = small_graph();
  EXPECT_NO_THROW(verify(good, GraphStage::model));
  Graph wrong_shape = good;
  wrong_shape[3].shape[0] = 7;
  EXPECT_THROW(verify(wrong_shape, GraphStage::compiling), InternalError);
  Graph forward_reference = good;
  forward_reference[3].inputs[0] = forward_reference.size() - 1;
  EXPECT_THROW(verify(forward_reference, GraphStage::compiling), InternalError);
  Graph phases = good;
  phases[3].phase = Phase::prepare;  // before its input, which is there at each step
  EXPECT_THROW(verify(phases, GraphStage::compiling), InternalError);
}

TEST(Graph, AttributesAreThoseOfTheTable) {
  const auto error = [](const char* attributes, GraphStage stage = GraphStage::compiling) -> std::string {
    const Graph graph =
        parse_graph(cat("%0 = input(name=\"x\") : float32[1, 4, 8]\n%1 = weight(name=\"w\") : float32[8, 8] @prepare\n%2 = linear(%0, %1", attributes,
                        ") : float32[1, 4, 8]\nreturn y=%2"));
    try {
      verify(graph, stage);
      return "";
    } catch (const InternalError& e) {
      return e.what();
    }
  };
  EXPECT_EQ(error(""), "");
  EXPECT_EQ(error(", act=\"silu\", strassen_error=0.005"), "");
  EXPECT_NE(error(", acct=\"silu\"").find("has an attribute \"acct\" and may have act, compute, "), std::string::npos);
  EXPECT_NE(error(", act=\"sillu\"").find("attribute \"act\" is not of type act"), std::string::npos);
  EXPECT_NE(error(", weight_storage=\"int3\"").find("attribute \"weight_storage\" is not of type dtype"), std::string::npos);
  EXPECT_NE(error(", strassen_error=\"much\"").find("attribute \"strassen_error\" is not of type real"), std::string::npos);
  EXPECT_NE(error(", strassen_error=0.005", GraphStage::model).find("has an attribute \"strassen_error\", which passes set, and may have act"),
            std::string::npos);
  Graph graph = parse_graph("%0 = input(name=\"x\") : float32[4, 8]\n%1 = slice(%0, axis=0, begin=1, end=2) : float32[1, 8]\nreturn y=%1");
  EXPECT_NO_THROW(verify(graph, GraphStage::model));
  graph[1].attrs.erase("axis");
  EXPECT_THROW(verify(graph, GraphStage::compiling), InternalError);
}

// Each elementwise op has one enumerator, so that the switches of those who compute it are complete.
TEST(Graph, EveryElementwiseOpIsInItsOwnList) {
  int count = 0;
  for (int i = 0; i < op_count(); ++i) {
    const Op op = static_cast<Op>(i);
    if (is_elementwise(op))
      EXPECT_EQ(static_cast<int>(elementwise(op)), count++) << op_name(op);
    else
      EXPECT_THROW(elementwise(op), InternalError) << op_name(op);
  }
}

TEST(Graph, StagesSayWhenANodeMayRun) {
  const auto text = [](const char* phase) {
    return cat("%0 = input(name=\"x\") : float32[4]\n%1 = weight(name=\"w\") : float32[4] @prepare\n%2 = silu(%1) : float32[4] ", phase,
               "\n%3 = add(%0, %2) : float32[4]\nreturn y=%3");
  };
  const Graph late = parse_graph(text("")), prepared = parse_graph(text("@prepare"));
  EXPECT_NO_THROW(verify(late, GraphStage::compiling));
  EXPECT_THROW(verify(late, GraphStage::compiled), InternalError) << "what depends on weights alone is prepared";
  for (GraphStage stage : {GraphStage::model, GraphStage::compiling, GraphStage::compiled}) EXPECT_NO_THROW(verify(prepared, stage));
}

}  // namespace
}  // namespace vivace
