#include "backends/cpu/kernels/gemm/level_inl.h"

namespace vivace::cpu::gemm_detail {

const Level& level_avx2() {
  static constexpr Level level = common_level();
  return level;
}

}  // namespace vivace::cpu::gemm_detail
