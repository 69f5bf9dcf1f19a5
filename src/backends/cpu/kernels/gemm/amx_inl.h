// The register tiles of AMX in the table of AVX-512 BF16.
#pragma once

#include "backends/cpu/kernels/gemm/level_inl.h"
#include "backends/cpu/kernels/microkernel_amx.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <AmxDot kDot, int kRows>
void amx_dense_tile(const void* a, int64_t a_stride, int64_t units, const void* b, float* c, bool accumulate, Ahead ahead) {
  constexpr ptrdiff_t kNoOffset = 0;
  amx_tile<AmxTiles, kDot, AmxRows::met_once>(a, a_stride, &kNoOffset, 1, units, b, c, kAmxColumns, kRows, accumulate, ahead);
}

template <AmxDot kDot, int... kRows>
constexpr void add_amx_unit(Level& level, Unit unit, std::integer_sequence<int, kRows...>) {
  ((level.tile[static_cast<int>(unit)][kRows + 1] = amx_dense_tile<kDot, kRows + 1>), ...);
  level.tile_rows[static_cast<int>(unit)] = kAmxRows;
  level.few_units[static_cast<int>(unit)] = 192;  // 24 KiB: tiles wait for what comes from the second cache
  level.unit_cycles[static_cast<int>(unit)] = 4;  // four products of tiles, 16 cycles each, for 16 units
}

constexpr Level amx_level() {
  static_assert(kAmxColumns == kTileVectors * kLanes && kAmxRows <= kMaxTileRows);
  Level level = bf16_level();
  constexpr auto rows = std::make_integer_sequence<int, kAmxRows>{};
  add_amx_unit<AmxDot::bf16>(level, Unit::bf16, rows);
  add_amx_unit<AmxDot::u8s8>(level, Unit::u8s8, rows);
  level.enter = AmxScope<AmxTiles>::enter, level.leave = AmxScope<AmxTiles>::leave;
  return level;
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
