// What each instruction-set level provides to the GEMM: a table of functions, so that the loop nest, packing and planning are compiled once, for any
// x86-64, and only the inner loops per level.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/ahead.h"
#include "backends/cpu/kernels/int16_row.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "tensor/block_format.h"
#include "vivace/dtype.h"

namespace vivace::cpu {

namespace gemm_detail {
struct Level;
}
namespace avx2 {
const gemm_detail::Level& gemm_level();
}
namespace avx2_vnni {
const gemm_detail::Level& gemm_level();
}
namespace avx512 {
const gemm_detail::Level& gemm_level();
}
namespace avx512_vnni {
const gemm_detail::Level& gemm_level();
}
namespace avx512_bf16 {
const gemm_detail::Level& gemm_level();
}
namespace amx {
const gemm_detail::Level& gemm_level();
}

namespace gemm_detail {

// Elements as they lie in memory, including the forms that only the product sees.
enum class Elem : uint8_t {
  f32,
  bf16,
  f16,
  fp8,  // e4m3
  s8,
  u8,
  s16,
  bf16_lo,  // of a float32 x: bf16(x - bf16(x)); only converted to
  blocks,   // in blocks of several values: only widened (Level::widen)
};
inline constexpr int kElems = 9;

// What one 4-byte unit along K holds.
enum class Unit : uint8_t { f32, bf16, i16, u8s8 };
inline constexpr int kUnits = 4;

// c[rows][panel] = (accumulate ? c : 0) + a[rows][units] x b[units][panel]; a_stride in bytes, c dense.
using TileFn = void (*)(const void* a, int64_t a_stride, int64_t units, const void* b, float* c, bool accumulate, Ahead ahead);
// n elements; neither side needs alignment.
using ConvertFn = void (*)(const void* from, void* to, int64_t n);

// The values of that many blocks.
using WidenFn = void (*)(const BlockFormatInfo& format, const uint8_t* blocks, int64_t count, float* values);

// Adds n values to what was seen of a row.
using MeasureFn = void (*)(const void* from, int64_t n, RowSize& size);
// to[i] = from[i] * inverse, to nearest even, which must fit; zeros where inverse is 0.
using ToInt16Fn = void (*)(const void* from, float inverse, int16_t* to, int64_t n);

// A row of W as int8 (int8_inl.h).
using Int8SizeFn = int32_t (*)(const float* values, int64_t n, bool pairs);
using ToInt8Fn = int32_t (*)(const float* values, int64_t n, float inverse, int8_t* to);

// For Strassen's algorithm (strassen.h). to[i] = from[0][i], or from[0][i] +- from[1][i] with two terms, converted like ConvertFn. n is a multiple
// of 16.
using CombineFn = void (*)(const void* const* from, int terms, bool minus, void* to, int64_t n);
// to[0] += a x w and, with two terms, to[1] +-= a x w. a: [units][rows], w: [units][panel], to[t]: [rows][panel] of float32, or of int32 where a and
// w are pairs of int16. An even number of units.
using AddProductFn = void (*)(const void* a, int64_t units, const void* w, float* const* to, int terms, bool minus);
// to[units][rows] from rows of units, `stride` units apart. A multiple of 4 units.
using InterleaveFn = void (*)(const uint32_t* from, int64_t stride, int rows, int64_t units, void* to);

// The public Epilogue and what the plan adds.
struct EpilogueArgs {
  void* c;
  int64_t ldc;
  DType c_dtype;
  int64_t columns;  // of C
  const float* bias;
  const void* residual;
  int64_t residual_stride;
  const float* w_scale;     // [padded n] in packed order; null: 1
  const int32_t* w_sum;     // of a row of W [padded n] in packed order, in which the int32 sums carry A's zero; null: A has none
  const RowScale* a_scale;  // [m] of a quantised A
};
// One register tile: rows [row, row + rows) of C, the panel'th panel.
using EpilogueFn = void (*)(const EpilogueArgs& args, const float* tile, int64_t row, int rows, int64_t panel);

inline constexpr int kMaxTileRows = 32;
inline constexpr int kActs = 6;

struct Level {
  int panel;                // columns of a register tile
  int tile_rows[kUnits];    // rows of the largest
  int unit_cycles[kUnits];  // what one unit along K takes it, about
  // Units in a block of K of which a panel stays in the first cache while several tiles pass over it; 0: the second cache is fast enough.
  int few_units[kUnits];
  bool pairs_in_int16;  // u8 x s8 products are added in pairs to int16, which saturates: W's scales must leave room (pack.cc)
  // [Unit][rows]; null where the level lacks the instruction.
  TileFn tile[kUnits][kMaxTileRows + 1];
  // [from][to]; null where nothing needs it.
  ConvertFn convert[kElems][kElems];
  WidenFn widen;
  // From float32, bfloat16 and float16; null elsewhere.
  MeasureFn measure[kElems];
  ToInt16Fn to_int16[kElems];
  Int8SizeFn int8_size;
  ToInt8Fn to_int8;
  // Into float32 and int16; null where the product takes neither from that element.
  CombineFn combine[kElems][kElems];
  InterleaveFn interleave;
  AddProductFn add_product[2][kMaxTileRows + 1];  // [int32 sums][rows]
  // [int32 sums][Act]; gated: value * act(gate), null but for the activations that have it.
  EpilogueFn epilogue[2][kActs], gated[2][kActs];
  // Around all register tiles that a thread does; null where nothing needs it.
  void (*enter)();
  void (*leave)();
};

// Null for baseline.
inline const Level* find_level(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return &avx2::gemm_level();
    case Isa::avx2_vnni:
      return &avx2_vnni::gemm_level();
    case Isa::avx512:
      return &avx512::gemm_level();
    case Isa::avx512_vnni:
      return &avx512_vnni::gemm_level();
    case Isa::avx512_bf16:
      return &avx512_bf16::gemm_level();
    case Isa::amx:
      return &amx::gemm_level();
    case Isa::baseline:
      break;
  }
  return nullptr;
}

}  // namespace gemm_detail

}  // namespace vivace::cpu
