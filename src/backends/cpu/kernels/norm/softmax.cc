#include "backends/cpu/kernels/norm/softmax.h"

#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {

void softmax_rows(const RowInput& x, int64_t rows, int64_t channels, float scale, const RowOutput& y, Stop stop) noexcept {
  share_rows(rows, channels, stop, [&](int64_t begin, int64_t end) { row_kernels().softmax_rows(x, channels, scale, y, begin, end); });
}

}  // namespace vivace::cpu
