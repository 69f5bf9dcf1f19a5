// The loops of the elementwise family, one table an instruction set; they run on the calling thread.
#pragma once

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "backends/cpu/kernels/vecmath/isa.h"

namespace vivace::cpu {

struct ElementwiseKernels {
  void (*convert)(const void* x, DType x_dtype, void* y, DType y_dtype, int64_t count);
  // y[c, r] = x[r, c] for r < rows, c < columns; strides in elements.
  void (*transpose)(const RowInput& x, int64_t rows, int64_t columns, const RowOutput& y);
};

struct TileKernels {
  // The rectangle rows [row, row_end) x channels [channel, channel_end).
  void (*run)(const TileProgram& program, const TileArguments& arguments, int64_t row, int64_t row_end, int64_t channel, int64_t channel_end);
};

namespace baseline {
extern const ElementwiseKernels kElementwiseKernels;
extern const TileKernels kTileKernels;
}  // namespace baseline
namespace avx2 {
extern const ElementwiseKernels kElementwiseKernels;
extern const TileKernels kTileKernels;
}  // namespace avx2
namespace avx512 {
extern const ElementwiseKernels kElementwiseKernels;
extern const TileKernels kTileKernels;
}  // namespace avx512
namespace avx512_bf16 {
extern const ElementwiseKernels kElementwiseKernels;
extern const TileKernels kTileKernels;
}  // namespace avx512_bf16

inline const ElementwiseKernels& elementwise_kernels() {
  return of_isa(baseline::kElementwiseKernels, avx2::kElementwiseKernels, avx512::kElementwiseKernels, avx512_bf16::kElementwiseKernels);
}
inline const TileKernels& tile_kernels() {
  return of_isa(baseline::kTileKernels, avx2::kTileKernels, avx512::kTileKernels, avx512_bf16::kTileKernels);
}

}  // namespace vivace::cpu
