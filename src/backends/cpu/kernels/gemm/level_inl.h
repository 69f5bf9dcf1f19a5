// Assembles the table of one level, from the register tiles of the instruction set that the including file is compiled for.
#pragma once

#include <utility>

#include "backends/cpu/kernels/gemm/convert_inl.h"
#include "backends/cpu/kernels/gemm/epilogue_inl.h"
#include "backends/cpu/kernels/gemm/int16_inl.h"
#include "backends/cpu/kernels/gemm/int8_inl.h"
#include "backends/cpu/kernels/gemm/level.h"
#include "backends/cpu/kernels/gemm/strassen_inl.h"
#include "tensor/block_values.h"
#ifdef __AVX512F__
#include "backends/cpu/kernels/microkernel_avx512.h"
#else
#include "backends/cpu/kernels/microkernel_avx2.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <Dot kDot, int kRows>
void dense_tile(const void* a, int64_t a_stride, int64_t units, const void* b, float* c, bool accumulate, Ahead) {
  register_tile<kDot, kRows, kTileVectors>(a, a_stride, units, b, c, kTileVectors * kLanes, accumulate);
}

template <Dot kDot, int... kRows>
constexpr void fill_tiles(Level& level, std::integer_sequence<int, kRows...>) {
  ((level.tile[static_cast<int>(kDot)][kRows + 1] = dense_tile<kDot, kRows + 1>), ...);
  level.tile_rows[static_cast<int>(kDot)] = tile_rows(kDot);
  // Two multiplications a cycle; bytes take two of them where they pass through int16.
  level.unit_cycles[static_cast<int>(kDot)] = tile_rows(kDot) * kTileVectors / (kDot == Dot::u8s8 && kPairsInInt16 ? 1 : 2);
}

template <Dot kDot>
constexpr void add_unit(Level& level) {
  fill_tiles<kDot>(level, std::make_integer_sequence<int, tile_rows(kDot)>{});
}

template <bool kInt, int... kAct>
constexpr void fill_epilogues(Level& level, std::integer_sequence<int, kAct...>) {
  ((level.epilogue[kInt][kAct] = epilogue<kInt, static_cast<Act>(kAct), false>), ...);
  const auto gate = [&](Act act, EpilogueFn function) { level.gated[kInt][static_cast<int>(act)] = function; };
  gate(Act::gelu, epilogue<kInt, Act::gelu, true>);
  gate(Act::gelu_tanh, epilogue<kInt, Act::gelu_tanh, true>);
  gate(Act::silu, epilogue<kInt, Act::silu, true>);
}

constexpr Level common_level() {
  static_assert(static_cast<int>(Dot::u8s8) == static_cast<int>(Unit::u8s8));
  Level level{};
  level.panel = kTileVectors * kLanes;
  add_unit<Dot::f32>(level);
  add_unit<Dot::i16>(level);
  add_unit<Dot::u8s8>(level);
  level.pairs_in_int16 = kPairsInInt16;
  auto set = [&](Elem from, Elem to, ConvertFn f) { level.convert[static_cast<int>(from)][static_cast<int>(to)] = f; };
  set(Elem::f32, Elem::f32, copy<float>);
  set(Elem::bf16, Elem::f32, convert<bf16, float>);
  set(Elem::f16, Elem::f32, convert<f16, float>);
  set(Elem::fp8, Elem::f32, convert<f8e4m3, float>);
  set(Elem::s8, Elem::f32, convert<int8_t, float>);
  set(Elem::f32, Elem::bf16, convert<float, bf16>);
  set(Elem::bf16, Elem::bf16, copy<bf16>);
  set(Elem::f16, Elem::bf16, convert<f16, bf16>);
  set(Elem::fp8, Elem::bf16, convert<f8e4m3, bf16>);
  set(Elem::s8, Elem::bf16, convert<int8_t, bf16>);
  set(Elem::f32, Elem::f16, convert<float, f16>);
  set(Elem::bf16, Elem::f16, convert<bf16, f16>);
  set(Elem::f16, Elem::f16, copy<f16>);
  set(Elem::u8, Elem::u8, copy<uint8_t>);
  set(Elem::s8, Elem::s8, copy<int8_t>);
  set(Elem::fp8, Elem::fp8, copy<f8e4m3>);
  set(Elem::s16, Elem::s16, copy<int16_t>);
  level.widen = widen_several;
  level.int8_size = int8_size;
  level.to_int8 = to_int8;
  auto rows = [&](Elem from, MeasureFn measure, ToInt16Fn to_int16) {
    level.measure[static_cast<int>(from)] = measure, level.to_int16[static_cast<int>(from)] = to_int16;
  };
  rows(Elem::f32, measure<float>, to_int16<float>);
  rows(Elem::bf16, measure<bf16>, to_int16<bf16>);
  rows(Elem::f16, measure<f16>, to_int16<f16>);
  auto sum = [&](Elem from, Elem to, CombineFn f) { level.combine[static_cast<int>(from)][static_cast<int>(to)] = f; };
  sum(Elem::f32, Elem::f32, combine<float, float>);
  sum(Elem::bf16, Elem::f32, combine<bf16, float>);
  sum(Elem::f16, Elem::f32, combine<f16, float>);
  sum(Elem::fp8, Elem::f32, combine<f8e4m3, float>);
  sum(Elem::s8, Elem::f32, combine<int8_t, float>);
  sum(Elem::s16, Elem::s16, combine<int16_t, int16_t>);
  static_assert(kTileVectors == 2);
  level.interleave = interleave;
  fill_products<false>(level, std::make_integer_sequence<int, kTileRows>{});
  fill_products<true>(level, std::make_integer_sequence<int, kTileRows>{});
  constexpr auto acts = std::make_integer_sequence<int, kActs>{};
  fill_epilogues<false>(level, acts);
  fill_epilogues<true>(level, acts);
  return level;
}

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
constexpr Level bf16_level() {
  Level level = common_level();
  add_unit<Dot::bf16>(level);
  level.convert[static_cast<int>(Elem::f32)][static_cast<int>(Elem::bf16_lo)] = convert<float, bf16_lo>;
  return level;
}
#endif

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
