// The graph's text form, its verifier and normalize().
#include <gtest/gtest.h>

#include "ir/graph.h"
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

TEST(Graph, TextErrorsNameTheLine) {
  for (const char* bad : {"%0 = inputt() : float32[1]\n", "%0 = input( : float32[1]\n", "%1 = silu(%0) : float32[1]\n", "%0 = input() : float99[1]\n", "return y=%3\n"}) {
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
  EXPECT_NO_THROW(verify(g));
}

TEST(Graph, VerifierNamesWhatIsBroken) {
  const Graph good = small_graph();
  EXPECT_NO_THROW(verify(good));
  Graph wrong_shape = good;
  wrong_shape[3].shape[0] = 7;
  EXPECT_THROW(verify(wrong_shape), InternalError);
  Graph forward_reference = good;
  forward_reference[3].inputs[0] = forward_reference.size() - 1;
  EXPECT_THROW(verify(forward_reference), InternalError);
  Graph phases = good;
  phases[3].phase = Phase::prepare;  // before its input, which is there at each step
  EXPECT_THROW(verify(phases), InternalError);
}

}  // namespace
}  // namespace vivace
