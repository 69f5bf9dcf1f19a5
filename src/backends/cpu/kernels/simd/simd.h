// The one vocabulary of vectors: float and int32 lanes on every instruction set, for the sources that levels.cmake compiles once a level
// (VIVACE_SIMD names it).
//
// Names and meanings are Highway's, without the tags, since a source is compiled for one width; what Highway has not is spelled as everything here
// is. Compiled files per level rather than Highway itself: the levels are then exactly those of isa.h, and the choice at run time is one switch on
// isa(). Everything here is local to its object file (anonymous namespace): an inline function with external linkage could be merged by the linker
// into code that a lesser CPU runs. For the same reason these sources include no C++ library header with functions in it, and no OpenMP: they are
// loops over ranges, called by files compiled for any x86-64.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#ifndef VIVACE_SIMD
#error "compiled through vivace_levels() of levels.cmake only"
#endif
#define VIVACE_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "backends/cpu/kernels/simd/avx512.h"
#elif defined(__AVX2__)
#include "backends/cpu/kernels/simd/avx2.h"
#else
#include "backends/cpu/kernels/simd/baseline.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

VIVACE_INLINE VF Neg(VF a) { return BitCast(Xor(BitCast(a), Set(INT32_MIN))); }
// a >= 0.
VIVACE_INLINE VF CopySign(VF a, VF b) { return BitCast(Or(BitCast(a), And(BitCast(b), Set(INT32_MIN)))); }

// How many lanes of a vector a loop body may touch: all of them, or the first n at a row's end.
struct Full {};
struct Part {
  int64_t n;
};

// body(i, lanes) over [0, n) in steps of a vector.
template <class Body>
VIVACE_INLINE void each_vector(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Full{});
  if (i < n) body(i, Part{n - i});
}

// The element types in memory. load() widens to float; store() rounds to nearest even and keeps a NaN a NaN.
struct Float32 {
  using T = float;
  static VIVACE_INLINE VF load(const T* p, Full) { return LoadU(p); }
  static VIVACE_INLINE VF load(const T* p, Part k) { return LoadN(p, k.n); }
  static VIVACE_INLINE void store(VF v, T* p, Full) { StoreU(v, p); }
  static VIVACE_INLINE void store(VF v, T* p, Part k) { StoreN(v, p, k.n); }
};

template <VF (*widen)(const uint16_t*), void (*narrow)(VF, uint16_t*)>
struct Half {
  using T = uint16_t;
  static VIVACE_INLINE VF load(const T* p, Full) { return widen(p); }
  static VIVACE_INLINE void store(VF v, T* p, Full) { narrow(v, p); }
  static VIVACE_INLINE VF load(const T* p, Part k) {
    alignas(64) T lanes[kLanes] = {};
    copy_words(p, lanes, k.n);
    return widen(lanes);
  }
  static VIVACE_INLINE void store(VF v, T* p, Part k) {
    alignas(64) T lanes[kLanes];
    narrow(v, lanes);
    copy_words(lanes, p, k.n);
  }
};
using Bfloat16 = Half<load_bf16, store_bf16>;
using Float16 = Half<load_f16, store_f16>;

// v where the lanes are in use, zero elsewhere.
VIVACE_INLINE VF zero_unused(VF v, Full) { return v; }
VIVACE_INLINE VF zero_unused(VF v, Part k) { return IfThenElseZero(FirstN(k.n), v); }

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
