#include "backends/cpu/kernels/norm/softmax.h"

#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {

void softmax_rows(const RowInput& x, int64_t rows, int64_t channels, float scale, const RowOutput& y) noexcept {
  parallel_for(rows, grain_rows(channels), [&](int64_t begin, int64_t end) { row_kernels().softmax_rows(x, channels, scale, y, begin, end); });
}

}  // namespace vivace::cpu
