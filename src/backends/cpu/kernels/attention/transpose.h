// Turning squares of units. Only for level.cc (see kernels.h).
#pragma once

#include "backends/cpu/kernels/simd/simd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Transposes kLanes rows of kLanes units, those from `rows` on taken as zero. Source rows lie ls bytes apart, the result's ld units.
template <class Unit>
inline void transpose(const void* s, int64_t ls, int64_t rows, Unit* d, int64_t ld) {
#if defined(__AVX512F__)
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = i < rows ? _mm512_loadu_si512(static_cast<const char*>(s) + i * ls) : _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(d + i * ld, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    _mm512_storeu_si512(d + (8 + i) * ld, _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
    _mm512_storeu_si512(d + (4 + i) * ld, _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88));
    _mm512_storeu_si512(d + (12 + i) * ld, _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd));
  }
#else
  for (int i = 0; i < kLanes; ++i) {
    Unit row[kLanes] = {};
    if (i < rows) std::memcpy(row, static_cast<const char*>(s) + i * ls, sizeof(row));
    for (int j = 0; j < kLanes; ++j) d[j * ld + i] = row[j];
  }
#endif
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
