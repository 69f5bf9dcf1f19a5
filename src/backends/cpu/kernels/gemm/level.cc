// The GEMM's table of one level.
#include "backends/cpu/kernels/gemm/level_inl.h"
#ifdef VIVACE_AMX
#include "backends/cpu/kernels/gemm/amx_inl.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {

const gemm_detail::Level& gemm_level() {
#if defined(VIVACE_AMX)
  static constexpr gemm_detail::Level level = amx_level();
#elif defined(__AVX512BF16__)
  static constexpr gemm_detail::Level level = bf16_level();
#else
  static constexpr gemm_detail::Level level = common_level();
#endif
  return level;
}

}  // namespace vivace::cpu::VIVACE_SIMD
