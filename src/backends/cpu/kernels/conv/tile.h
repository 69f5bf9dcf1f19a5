// The register tile every convolution ends in, and its operands: `Unit` is four bytes of input channels (2 bf16 or 1 float32).
#pragma once

#include <cstddef>
#include <utility>

#include "backends/cpu/kernels/conv/elements.h"
#ifdef VIVACE_AMX
#include "backends/cpu/kernels/microkernel_amx.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

#if defined(__AVX512BF16__)
using Element = uint16_t;
inline constexpr int kElementsPerUnit = 2;
VIVACE_INLINE VF multiply_units(VF sum, VF a, VF b) { return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)); }
VIVACE_INLINE void store_elements(VF v, Element* p) { store_bf16_flushed(v, p); }
#else
using Element = float;
inline constexpr int kElementsPerUnit = 1;
VIVACE_INLINE VF multiply_units(VF sum, VF a, VF b) { return MulAdd(a, b, sum); }
VIVACE_INLINE void store_elements(VF v, Element* p) { StoreU(v, p); }
#endif
using Unit = float;  // moved, never interpreted

// sums[rows][kPanel] (+)= for every tap t and unit u < units: a[taps[t] + row * row_stride + u] * b[t][u][kPanel]
struct TileJob {
  const Unit* a;
  ptrdiff_t row_stride;
  const ptrdiff_t* taps;
  int64_t tap_count, units;
  const Unit* b;
  float* sums;
  bool accumulate;
};

#ifdef VIVACE_AMX

using TileScope = AmxScope<AmxTiles>;
inline constexpr int kMaxRows = kAmxRows;
VIVACE_INLINE void multiply_tile(int64_t rows, const TileJob& job) {
  static_assert(kPanel == kAmxColumns);
  amx_tile<AmxTiles, AmxDot::bf16>(job.a, job.row_stride * 4, job.taps, job.tap_count, job.units, job.b, job.sums, kPanel, static_cast<int>(rows),
                                   job.accumulate);
}

#else

// What multiply_tile() needs around it.
struct TileScope {
  TileScope() {}
};
inline constexpr int kMaxRows =
    kLanes == 16 ? 14 : 6;  // 14 x 2 accumulators, 2 vectors of weights, 1 of input: 31 of 32 registers; 6 x 2 of AVX2's 16

template <int rows>
void multiply_tile(const TileJob& job) {
  VF acc[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    acc[i][0] = job.accumulate ? LoadU(job.sums + i * kPanel) : Zero();
    acc[i][1] = job.accumulate ? LoadU(job.sums + i * kPanel + kLanes) : Zero();
  }
  // Five pointers, each serving the rows at 0, 1 and 2 strides of it, so that every address is one x86 operand.
  const ptrdiff_t stride = job.row_stride;
  const Unit* b = job.b;
  for (int64_t t = 0; t < job.tap_count; ++t) {
    const Unit* a0 = job.a + job.taps[t];
    const Unit *a3 = a0 + 3 * stride, *a6 = a3 + 3 * stride, *a9 = a6 + 3 * stride, *a12 = a9 + 3 * stride;
    auto multiply = [&](int unit) __attribute__((always_inline)) {
      const VF b0 = LoadU(b + unit * kPanel), b1 = LoadU(b + unit * kPanel + kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Unit* base = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : i < 12 ? a9 : a12;
        VF a = Set(base[(i % 3) * stride + unit]);
        asm("" : "+v"(a));  // one broadcast for both products, not one folded into each
        acc[i][0] = multiply_units(acc[i][0], a, b0);
        acc[i][1] = multiply_units(acc[i][1], a, b1);
      }
    };
    if constexpr (kLanes == 8) {  // as in microkernel_avx2.h: two units a turn, and nothing but products
      for (const Unit* end = b + job.units / 2 * (2 * kPanel); b != end;) {
        multiply(0);
        multiply(1);
        b += 2 * kPanel, a0 += 2, a3 += 2;
        asm volatile("" : "+r"(a0), "+r"(a3), "+r"(b));
      }
      if (job.units % 2 != 0) multiply(0), b += kPanel;
    } else {
      for (int64_t u = 0; u < job.units; ++u) {
        constexpr int kAhead = 8 * kPanel;  // weights stream from the second-level cache
        _mm_prefetch(reinterpret_cast<const char*>(b + kAhead), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(b + kAhead + kLanes), _MM_HINT_T0);
        multiply(0);
        b += kPanel, ++a0, ++a3, ++a6, ++a9, ++a12;
        asm volatile("" : "+r"(a0), "+r"(a3), "+r"(a6), "+r"(a9), "+r"(a12), "+r"(b));
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    StoreU(acc[i][0], job.sums + i * kPanel);
    StoreU(acc[i][1], job.sums + i * kPanel + kLanes);
  }
}

template <int... i>
VIVACE_INLINE void multiply_tile_of(int64_t rows, const TileJob& job, std::integer_sequence<int, i...>) {
  static constexpr void (*kTiles[])(const TileJob&) = {multiply_tile<i + 1>...};
  kTiles[rows - 1](job);
}
// 1 <= rows <= kMaxRows
VIVACE_INLINE void multiply_tile(int64_t rows, const TileJob& job) { multiply_tile_of(rows, job, std::make_integer_sequence<int, kMaxRows>{}); }

#endif

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
