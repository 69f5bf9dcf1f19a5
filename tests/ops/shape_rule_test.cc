// What kernels rely on without looking, and a plan from a stranger may have otherwise.
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <vector>

#include "backends/cpu/device.h"
#include "backends/ref/device.h"
#include "ops/infer.h"
#include "run_plan.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Inputs = std::vector<std::optional<TensorType>>;

TensorType floats(Shape shape) { return {DType::float32, std::move(shape)}; }
TensorType integers(Shape shape) { return {DType::int32, std::move(shape)}; }

TEST(ShapeRules, WhatKernelsReadAndWriteIsThere) {
  struct Case {
    Op op;
    Attrs good;
    Inputs inputs;
    std::vector<Attrs> bad_attrs;
    std::vector<Inputs> bad_inputs;
  };
  const TensorType x = floats({2, 5, 8}), image = floats({1, 6, 6, 4}), w = floats({4, 4, 3, 3});
  const Attrs axis{{"dim", int64_t{8}}}, one{{"stride", int64_t{1}}}, wide{{"stride", (int64_t{1} << 32) + 1}};
  const std::vector<int64_t> short_padding{1, 1}, negative{-1, 1, 1, 1};
  const std::vector<Case> cases{
      {Op::gather_rows, {}, {x, integers({2})}, {}, {{x, integers({1})}, {x, floats({2})}, {floats({2, 5, 8, 1}), integers({2})}}},
      {Op::argmax, {}, {integers({2, 5})}, {}, {{integers({2})}, {floats({2, 5})}, {integers({2, 0})}}},
      {Op::first_equal, {{"value", int64_t{2}}}, {integers({2, 5})}, {}, {{integers({2})}, {TensorType{DType::uint8, {2, 5}}}}},
      {Op::select_row, {}, {x, integers({1})}, {}, {{x, integers({0})}, {floats({0, 5}), integers({1})}}},
      {Op::embedding, {}, {integers({2, 5}), floats({7, 8})}, {}, {{integers({2, 5}), floats({0, 8})}}},
      {Op::sinusoid, axis, {floats({3})}, {}, {{TensorType{DType::bfloat16, {3}}}}},
      {Op::interleave, {{"block", int64_t{1}}}, {x, x}, {{{"block", int64_t{0}}}, {{"block", int64_t{-1}}}}, {}},
      {Op::upsample_nearest, {}, {image, floats({1, 9, 9, 4})}, {}, {{floats({1, 0, 6, 4}), floats({1, 9, 9, 4})}}},
      {Op::conv2d, one, {image, w}, {wide, {{"padding", short_padding}}, {{"padding", negative}}}, {}},
  };
  for (const Case& c : cases) {
    EXPECT_NO_THROW(infer(c.op, c.good, c.inputs)) << op_name(c.op);
    for (const Attrs& attrs : c.bad_attrs) EXPECT_THROW(infer(c.op, attrs, c.inputs), InternalError) << op_name(c.op) << ' ' << print_attrs(attrs);
    for (const Inputs& inputs : c.bad_inputs) EXPECT_THROW(infer(c.op, c.good, inputs), InternalError) << op_name(c.op);
  }
}

TEST(ShapeRules, IndicesOutsideATableTakeItsFirstOrLastRow) {
  const Graph gather = parse_graph(R"(%0 = input(name="x") : float32[2, 3, 2]
%1 = input(name="index") : int32[2]
%2 = gather_rows(%0, %1) : float32[2, 2]
return y=%2
)");
  const Graph select = parse_graph(R"(%0 = input(name="x") : float32[2, 3, 2]
%1 = input(name="index") : int32[1]
%2 = select_row(%0, %1) : float32[3, 2]
return y=%2
)");
  Tensor x = Tensor::zeros({2, 3, 2}), both = Tensor::zeros({2}, DType::int32), one = Tensor::zeros({1}, DType::int32);
  for (int64_t i = 0; i < x.numel(); ++i) x.floats()[static_cast<size_t>(i)] = static_cast<float>(i);
  both.as<int32_t>()[0] = -7, both.as<int32_t>()[1] = std::numeric_limits<int32_t>::max();
  one.as<int32_t>()[0] = 2;
  for (const auto& device : {cpu::device(), ref::device()}) {
    const auto run = [&](const Graph& graph, const Tensor& index) {
      const Tensor y = run_plan(std::make_shared<const Plan>(compile(graph, *device, {})), device, {{"x", x}, {"index", index}});
      return std::vector<float>(y.floats().begin(), y.floats().end());
    };
    EXPECT_EQ(run(gather, both), (std::vector<float>{0, 1, 10, 11}));
    EXPECT_EQ(run(select, one), (std::vector<float>{6, 7, 8, 9, 10, 11}));
  }
}

}  // namespace
}  // namespace vivace
