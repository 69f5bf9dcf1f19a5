// Random graphs, with fixed seeds: every optional pass alone and all together keep what the oracle makes of the graph.
#include <random>

#include "../models/golden.h"
#include "backends/cpu/device.h"
#include "backends/ref/device.h"
#include "base/log.h"
#include "models/common/layers.h"
#include "ops/decompose.h"
#include "ops/infer.h"

namespace vivace {
namespace {

constexpr int64_t kBatch = 2, kSide = 6, kTokens = 5, kContext = 16, kTime = 16, kGroups = 4;
constexpr int64_t kLongestSum = 9 * 48;  // of a 3x3 convolution over the most channels

// A chain of blocks as diffusion models have them, in any order, with skip connections.
class RandomGraph {
 public:
  RandomGraph(uint32_t seed, DType dtype) : b_(dtype), random_(seed) {
    context_ = b_.input("context", dtype, {kBatch, kTokens, kContext}, Phase::setup);
    time_ = b_.input("time", dtype, {kBatch, kTime});
    images_.push_back(b_.input("x", dtype, {kBatch, kSide, kSide, 16}));
    for (int i = 0; i < 14; ++i) {
      const auto scope = b_.scope(cat("block", i));
      images_.push_back(block());
    }
    b_.output("y", images_.back());
    b_.output("z", pick());
  }
  Graph take() { return b_.take(); }

 private:
  int64_t upto(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(random_); }
  // Mostly the newest.
  Value pick() { return upto(3) ? images_.back() : images_[static_cast<size_t>(upto(static_cast<int64_t>(images_.size())))]; }
  int64_t channels() { return 8 * (1 + upto(3)); }

  Value activation(Value x) {
    constexpr std::array names{"silu", "gelu", "gelu_tanh", "quick_gelu", "relu"};
    return b_.activation(x, names[static_cast<size_t>(upto(5))]);
  }
  Value norm(Value x) { return group_norm(b_, "norm", x, kGroups, 1e-5); }

  Value with_like(Value x, Value y) { return b_.channels(x) == b_.channels(y) ? y : conv2d_same(b_, "match", y, b_.channels(x), 1); }

  Value transformer(Value x) {
    const int64_t c = b_.channels(x);
    const bool cross = upto(2);
    const Value h = layer_norm(b_, "norm1", b_.flatten_hw(norm(x)), 1e-5), context = cross ? context_ : h;
    const Value q = linear(b_, "to_q", h, c, !cross), k = linear(b_, "to_k", context, c, !cross), v = linear(b_, "to_v", context, c, !cross);
    const Value y = b_.add(linear(b_, "to_out", b_.attention(q, k, v, {}, c / 8, 0.35, false), c), h);
    const Value ff = b_.emit(Op::geglu, {linear(b_, "ff", layer_norm(b_, "norm2", y, 1e-5), 4 * c)});
    return b_.add(b_.unflatten_hw(linear(b_, "net", ff, c), x), x);
  }

  Value resnet(Value x) {
    const int64_t out = channels();
    Value h = conv2d_same(b_, "conv1", b_.activation(norm(x), "silu"), out, 3);
    h = b_.add(h, b_.reshape(linear(b_, "time", b_.activation(time_, "silu"), out), {0, 1, 1, out}));
    return b_.add(with_like(h, x), h);
  }

  Value chain(Value x) {
    Value y = b_.affine(activation(b_.affine(x, 0.5, 0.25)), 1.5, -0.25);
    y = b_.mul(y, b_.cast(b_.weight("scale", {b_.channels(x)}), b_.dtype()));
    y = b_.emit(Op::clamp, {y}, {{"min", -4.0}, {"max", 4.0}});
    return b_.add(y, b_.cast(b_.cast(with_like(y, pick()), DType::float32), b_.dtype()));
  }

  Value block() {
    const Value x = pick();
    switch (upto(6)) {
      case 0:
        return transformer(x);
      case 1:
        return resnet(x);
      case 2:
        return chain(x);
      case 3:
        return conv2d_same(b_, "conv", norm(b_.concat({activation(x), activation(pick())}, -1)), channels(), upto(2) ? 3 : 1);
      case 4:
        return conv2d(b_, "down", conv2d_same(b_, "up", b_.emit(Op::upsample_nearest, {x}), channels(), 3), channels(), 3, 2, {1, 1, 1, 1});
      default:
        return norm(b_.add(activation(b_.slice(x, -1, 0, 8)), activation(b_.slice(x, -1, b_.channels(x) - 8, b_.channels(x)))));
    }
  }

  Builder b_;
  std::mt19937 random_;
  Value context_, time_;
  std::vector<Value> images_;
};

golden::Tensors inputs() {
  return {{"x", Generator(1).randn({kBatch, 16, kSide, kSide})},
          {"context", Generator(2).randn({kBatch, kTokens, kContext})},
          {"time", Generator(3).randn({kBatch, kTime})}};
}

class RandomGraphs : public testing::TestWithParam<std::tuple<uint32_t, DType>> {};

TEST_P(RandomGraphs, PassesKeepTheResult) {
  const auto [seed, dtype] = GetParam();
  const auto graph = [&] { return RandomGraph(seed, dtype).take(); };
  const auto nodes = static_cast<double>(graph().nodes.size());
  const golden::Tensors wanted = golden::run(decompose_all(graph()), ref::device(), {}, inputs(), "", seed);
  // One rounding a node and those of its sum, adding like a random walk; blocks hand an error on about as large as it came. The largest of some
  // thousand values lies within five deviations, and the gain of a norm or a product doubles it.
  const double unit = dtype == DType::float32 ? 0x1p-24 : 0x1p-9,
               relative = 2 * 5 * std::sqrt(nodes) * (unit + std::sqrt(static_cast<double>(kLongestSum)) * 0x1p-24);
  const auto check = [&](const CompileOptions& options, const std::string& what) {
    const golden::Tensors got = golden::run(graph(), cpu::device(), options, inputs(), "", seed);
    for (const auto& [name, tensor] : wanted) {
      double largest = 0, worst = 0;
      for (float x : tensor.floats()) largest = std::max(largest, std::abs(static_cast<double>(x)));
      for (int64_t i = 0; i < tensor.numel(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(tensor.floats()[i]) - got.at(name).floats()[i]));
      EXPECT_LT(worst, relative * std::max(1.0, largest)) << what << ", output " << name;
    }
  };
  CompileOptions everything{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  everything.flags.conv_1x1_as_mm = true;
  check({}, "no pass");
  check(everything, "all passes");
  CompileOptions tuned = everything;
  tuned.autotune_seconds = 0.1;
  check(tuned, "all passes, and the kernels that were fastest");
  for (const PassInfo& kept : pass_list()) {
    if (!kept.optional) continue;
    CompileOptions options = everything;
    for (const PassInfo& pass : pass_list())
      if (pass.optional && pass.name != kept.name) options.disable_passes.emplace_back(pass.name);
    check(options, std::string(kept.name) + " alone");
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Combine(testing::Range(0u, 8u), testing::Values(DType::float32, DType::bfloat16)),
                         [](const auto& info) {
                           return std::string(dtype_name(std::get<1>(info.param))) + "_" + std::to_string(std::get<0>(info.param));
                         });

}  // namespace
}  // namespace vivace
