#include "backends/cpu/kernels/norm/quantize.h"

#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {

int64_t quantize_rows(const RowInput& x, int64_t rows, int64_t channels, const RowOutput& y, Stop stop) noexcept {
  return split_rows(rows, channels, stop, [&](int64_t begin, int64_t end) { return row_kernels().quantize_rows(x, channels, y, begin, end); });
}

int64_t gated_rows(const GatedRows& gated, const RowOutput& y, Stop stop) noexcept {
  return split_rows(gated.rows, gated.channels, stop, [&](int64_t begin, int64_t end) { return row_kernels().gated_rows(gated, y, begin, end); });
}

void hadamard_blocks(const float* values, int64_t count, int64_t block, float* to) noexcept { row_kernels().turn_blocks(values, count, block, to); }

}  // namespace vivace::cpu
