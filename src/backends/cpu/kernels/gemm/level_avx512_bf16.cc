#include "backends/cpu/kernels/gemm/level_inl.h"

namespace vivace::cpu::gemm_detail {
namespace {
constexpr Level make_level() {
  Level level = common_level();
  add_unit<Dot::bf16>(level);
  add_unit<Dot::u8s8>(level);
  level.convert[static_cast<int>(Elem::f32)][static_cast<int>(Elem::bf16_lo)] = convert<float, bf16_lo>;
  return level;
}
}  // namespace

const Level& level_avx512_bf16() {
  static constexpr Level level = make_level();
  return level;
}

}  // namespace vivace::cpu::gemm_detail
