// Launches as text, and that what the compile check holds against its budget is what is launched.
#include "backends/cuda/kernels/launch.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "backends/cuda/kernels/attention.h"
#include "backends/cuda/kernels/gemm.h"
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "backends/cuda/kernels/sources.h"

namespace vivace::cuda {
namespace {

TEST(CudaLaunch, ModuleText) {
  EXPECT_EQ(module_text({.source = "row_norm.cuh", .function = "row_norm<bf16, float, bf16, false>", .arguments = "RowNormArguments", .block = 64}),
            "#include \"row_norm.cuh\"\nnamespace vivace::cuda {\nextern \"C\" __global__ void __launch_bounds__(64) kernel(const __grid_constant__ "
            "RowNormArguments arguments) { row_norm<bf16, float, bf16, false>(arguments); }\n}\n");
}

// NVRTC has no folder to look into: what a source includes is another of them.
TEST(CudaLaunch, SourcesAreWhole) {
  std::set<std::string> names;
  for (const KernelSource& source : kernel_sources()) names.insert(source.name);
  names.insert({"hip.cuh", "host_cuda.h"});  // other compilers'
  for (const KernelSource& source : kernel_sources()) {
    std::istringstream lines{source.text};
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("#include")) {
        EXPECT_TRUE(names.contains(line.substr(10, line.size() - 11))) << source.name << ": " << line;
      }
    }
    EXPECT_EQ(std::string_view(source.text).find("asm") != std::string_view::npos, std::string_view(source.name) == "ptx.cuh") << source.name;
  }
}

TEST(CudaLaunch, TheBudgetIsOfWhatRuns) {
  std::set<std::string> budget;
  std::ifstream file(VIVACE_SOURCE_DIR "/tests/cuda/compile/budget.txt");
  for (std::string line; std::getline(file, line);) budget.insert(line.substr(0, line.find(':')));
  const auto expect = [&](const Launch& launch) {
    const std::string line = launch.source + " " + launch.arguments + " " + std::to_string(launch.block) + " " + launch.function;
    EXPECT_TRUE(budget.contains(line)) << line;
  };
  constexpr DType bf = DType::bfloat16, f32 = DType::float32;
  // SDXL at 1024 x 1024, and FLUX.
  const auto attention = [&](int tokens, int keys, int heads, int size, DType dtype) {
    const int row = heads * size;
    expect(make_attention(
               {.q_row = row, .k_row = row, .v_row = row, .queries = tokens, .keys = keys, .heads = heads, .head_size = size, .value_size = size}, 2,
               dtype)
               .launch);
  };
  attention(4096, 4096, 10, 64, bf);
  attention(4608, 4608, 24, 128, bf);
  attention(16384, 16384, 1, 512, bf);
  attention(4096, 77, 10, 64, f32);
  const auto linear = [&](int rows, int columns, int k, DType x, bool geglu) {
    expect(make_gemm({.rows = rows, .x_pitch = k, .w_pitch = k, .w_step = 1, .columns = columns, .k = k},
                     {.x = x, .y = x == f32 ? f32 : bf, .bias = f32, .geglu = geglu})
               .launch);
  };
  linear(8192, 640, 640, bf, false);
  linear(8192, 5120, 640, bf, true);
  linear(8192, 640, 2560, DType::uint8, false);
  linear(8192, 5120, 640, DType::uint8, true);
  linear(8192, 640, 2560, DType::float8_e4m3, false);
  linear(8192, 5120, 640, DType::float8_e4m3, true);
  linear(8192, 640, 640, f32, false);
  expect(make_gemm({.rows = 32768, .w_pitch = 2880, .w_step = 1, .columns = 320, .k = 2880, .channels = 320},
                   {.x = bf, .y = bf, .bias = f32, .convolution = true})
             .launch);
  expect(make_gemm({.rows = 128, .w_pitch = 36, .w_step = 1, .columns = 320, .k = 36, .channels = 4},
                   {.x = bf, .y = bf, .bias = f32, .convolution = true})
             .launch);
  expect(make_row_norm({.rows = 8192, .columns = 640, .heads = 1}, bf, f32, bf).launch);
  for (DType quantized : {DType::uint8, DType::float8_e4m3})
    expect(make_row_norm({.rows = 8192, .columns = 640, .heads = 1}, bf, f32, quantized).launch);
  expect(make_row_norm({.rows = 8192, .columns = 18432, .heads = 1}, DType::float16, DType::float16, DType::uint8).launch);
  for (DType storage : {DType::int8, DType::float8_e4m3}) expect(make_quantize_weight({.rows = 1280, .columns = 640}, bf, storage).launch);
  for (const auto& call : make_group_norm({.pixels = 16384, .channels = 320, .groups = 32}, 2, bf, f32)) expect(call.launch);
}

}  // namespace
}  // namespace vivace::cuda
