#include "backends/cpu/kernels/gemm/level_inl.h"

namespace vivace::cpu::gemm_detail {

const Level& level_avx512_bf16() {
  static constexpr Level level = bf16_level();
  return level;
}

}  // namespace vivace::cpu::gemm_detail
