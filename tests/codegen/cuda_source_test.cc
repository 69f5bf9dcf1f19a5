// CUDA source of tile programs: the text, and, compiled here as C++ and run by fibers (tests/cuda/host), its results against the CPU's tile VM.
#include "codegen/cuda_source.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "../models/golden.h"
#include "backends/cpu/device.h"
#include "numbers.cuh"
#include "vivace/error.h"

namespace modulate_case {
#include "data/modulate.cu"
}
namespace activations_case {
#include "data/activations.cu"
}

namespace vivace {
namespace {

constexpr const char* kModulate = "t0=mul i0 i1;t1=add t0 i2;t2=silu t1";
constexpr const char* kActivations =
    "t0=affine i0 scale=0.5 shift=0.25;t1=gelu t0;t2=add t1 i1;t3=cast t2 to=bfloat16;t4=gelu_tanh t3;t5=quick_gelu t4;t6=clamp t5 min=-2 "
    "max=3;t7=sub t6 i2;"
    "t8=exp t7;t9=affine t8 scale=1 shift=1;t10=rsqrt t9;t11=div t6 t10;t12=relu t11;t13=add t12 t7";
constexpr TileInput kModulateInputs[] = {
    {DType::bfloat16, TileBroadcast::full}, {DType::float32, TileBroadcast::channel}, {DType::bfloat16, TileBroadcast::image_channel}};
constexpr TileInput kActivationInputs[] = {
    {DType::float32, TileBroadcast::full}, {DType::float16, TileBroadcast::row}, {DType::float32, TileBroadcast::scalar}};

std::string golden_text(const char* file) {
  std::ifstream in(std::filesystem::path(VIVACE_TEST_DATA) / file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// What the VM makes of the program.
Tensor on_cpu(const char* program, const std::vector<Tensor>& inputs, DType output) {
  Builder b(DType::float32);
  std::vector<Value> values;
  golden::Tensors named;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values.push_back(b.input(std::to_string(i), inputs[i].dtype(), inputs[i].shape()));
    named[std::to_string(i)] = inputs[i];
  }
  b.output("y", b.emit(Op::tile, values, {{"program", std::string(program)}, {"to", std::string(dtype_name(output))}}));
  return golden::run(b.take(), cpu::device(), {}, named, "", 0).at("y");
}

// A few roundings of float32 arithmetic on values of about 10, then one of the result.
void expect_close(const Tensor& got, const Tensor& wanted, double epsilon) {
  ASSERT_EQ(got.numel(), wanted.numel());
  for (int64_t i = 0; i < got.numel(); ++i)
    EXPECT_NEAR(got.floats()[i], wanted.floats()[i], epsilon * std::abs(wanted.floats()[i]) + 32 * 0x1p-24 * 10) << i;
}

TEST(CudaSource, Text) {
  EXPECT_EQ(cuda_source(TileText(kModulate), kModulateInputs, DType::bfloat16, "modulate"), golden_text("modulate.cu"));
  EXPECT_EQ(cuda_source(TileText(kActivations), kActivationInputs, DType::float16, "activations"), golden_text("activations.cu"));
}

TEST(CudaSource, UnknownDtypesAreRefused) {
  const TileInput wrong[] = {{DType::int32, TileBroadcast::full}};
  EXPECT_THROW(cuda_source(TileText("t0=silu i0"), wrong, DType::float32, "f"), InternalError);
}

TEST(CudaSource, RowsWithATailAndAnImageBias) {
  const int64_t images = 2, pixels = 5, channels = 20;
  const Tensor x = Generator(1).randn({images, pixels, channels}).to(DType::bfloat16), scale = Generator(2).randn({channels}),
               shift = Generator(3).randn({images, 1, channels}).to(DType::bfloat16);
  Tensor y({images, pixels, channels}, DType::bfloat16);
  host_cuda::run({.grid = {3}, .block = 32, .seed = 1}, [&] {
    modulate_case::modulate(x.as<cuda::bf16>(), channels, scale.as<float>(), 0, shift.as<cuda::bf16>(), channels, y.as<cuda::bf16>(), channels,
                            images * pixels, channels, pixels);
  });
  expect_close(y.to(DType::float32), on_cpu(kModulate, {x, scale, shift}, DType::bfloat16), 0x1p-8);
}

TEST(CudaSource, EveryInstruction) {
  const int64_t rows = 7, channels = 16;
  const Tensor x = Generator(4).randn({rows, channels}), offset = Generator(5).randn({rows, 1}).to(DType::float16), one = Tensor::from({0.75f});
  Tensor y({rows, channels}, DType::float16);
  host_cuda::run({.grid = {1}, .block = 32, .seed = 1}, [&] {
    activations_case::activations(x.as<float>(), channels, offset.as<cuda::f16>(), 1, one.as<float>(), 0, y.as<cuda::f16>(), channels, rows, channels,
                                  1);
  });
  // A value that the cast rounds the other way is half a unit of bfloat16 off, here up to 2^-8 of it.
  expect_close(y.to(DType::float32), on_cpu(kActivations, {x, offset, one}, DType::float16), 0x1p-7);
}

}  // namespace
}  // namespace vivace
