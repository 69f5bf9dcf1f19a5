// Linears of float8_dynamic on the CPU, at every level, against plain arithmetic.
#include "backends/cpu/device.h"
#include "backends/cpu/isa.h"
#include "float8_linear.h"
#include "vivace/error.h"
#include "weights/weight_map.h"

namespace vivace {
namespace {

class Float8Ops : public testing::TestWithParam<std::tuple<Float8Case, DType>> {
 protected:
  ~Float8Ops() override { cpu::limit_isa(cpu::kHighestIsa); }
};

TEST_P(Float8Ops, EqualPlainArithmeticAtEveryLevel) {
  const auto& [item, dtype] = GetParam();
  for (int level = static_cast<int>(cpu::Isa::avx2); level <= static_cast<int>(cpu::kHighestIsa); ++level) {
    if (!cpu::has_isa(static_cast<cpu::Isa>(level))) continue;
    cpu::limit_isa(static_cast<cpu::Isa>(level));
    SCOPED_TRACE(cpu::isa_name(cpu::isa()));
    Float8Linear(item, dtype).check(cpu::device());
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Float8Ops,
                         testing::Combine(testing::ValuesIn(kFloat8Cases), testing::Values(DType::float32, DType::bfloat16, DType::float16)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" + std::string(dtype_name(std::get<1>(info.param)));
                         });

// torchao's bytes and scales of the same rows and weights, and its product (tools/golden/float8_linear.py).
TEST(Float8Linears, AreTorchaos) {
  const WeightMap golden = WeightMap::open(VIVACE_TEST_DATA "/float8_linear.safetensors");
  const Tensor x = golden.tensor("x"), w = golden.tensor("w"), bias = golden.tensor("bias"), y = golden.tensor("y");
  for (const std::string name : {"x", "w"}) {
    const Tensor rows = golden.tensor(name), bytes = golden.tensor(name + "_bytes"), scales = golden.tensor(name + "_scales");
    const int64_t k = rows.dim(1);
    for (int64_t r = 0; r < rows.dim(0); ++r) {
      const NarrowRow narrow(DType::float8_e4m3, absmax(rows.as<float>() + r * k, k));
      EXPECT_EQ(narrow.scale(), scales.as<float>()[r]) << name << ", row " << r;
      for (int64_t i = r * k; i < (r + 1) * k; ++i) ASSERT_EQ(narrow.float8(rows.as<float>()[i]).bits, bytes.as<uint8_t>()[i]) << name << ", " << i;
    }
  }
  Builder b(DType::float32);
  const Attrs attrs{{"compute", "float8_dynamic"}};
  b.output("y", b.emit(Op::linear, {b.input("x", DType::float32, x.shape()), b.weight("w", w.shape()), b.weight("bias", bias.shape())}, attrs));
  const Tensor got =
      run_plan(std::make_shared<const Plan>(compile(b.take(), *cpu::device(), {})), cpu::device(), {{"x", x}, {"w", w}, {"bias", bias}});
  for (int64_t r = 0; r < x.dim(0); ++r) {
    double size = 0;  // of a row's products at most
    for (int64_t i = 0; i < x.dim(1); ++i) size += std::abs(static_cast<double>(x.as<float>()[r * x.dim(1) + i]));
    for (int64_t j = 0; j < w.dim(0); ++j) {
      const double largest = absmax(w.as<float>() + j * x.dim(1), x.dim(1)), want = y.as<float>()[r * w.dim(0) + j];
      ASSERT_NEAR(got.as<float>()[r * w.dim(0) + j], want, 60 * 0x1p-24 * (1.1 * size * largest + 4)) << r << ", " << j;
    }
  }
}

// Whatever follows it, a row that holds a NaN or an infinity is told.
TEST(Float8Linears, RowsThatAreNoNumbersAreReported) {
  for (const Float8Case& item : {kFloat8Cases[1], kFloat8Cases[7]})
    for (const float bad : {NAN, -INFINITY}) EXPECT_THROW(Float8Linear(item, DType::float32).run_with(bad, cpu::device()), UserError) << item.name;
}

// Bytes that are no quantised rows for the products.
TEST(Float8Linears, WantRowsOfTheirOwn) {
  Builder b(DType::float32);
  const Value x = b.input("x", DType::float32, {4, 16}), rows = b.emit(Op::quantize_rows, {x}, {{"quantize", "uint8"}});
  EXPECT_THROW(b.emit(Op::linear, {rows, b.weight("w", {8, 16})}, {{"compute", "float8_dynamic"}, {"to", "float32"}}), InternalError);
  EXPECT_THROW(b.emit(Op::quantize_rows, {x}, {{"quantize", "int8"}}), InternalError);
}

}  // namespace
}  // namespace vivace
