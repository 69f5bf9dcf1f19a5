#include "backends/cpu/peak.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/microkernel_amx.h"
#include "backends/host_device.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// More chains than latency times throughput on any x86-64, and no more than there are registers.
constexpr int kChains = 12;

// `n` rounds of kChains independent multiply-adds; returns something that depends on all of them.
using Spin = float (*)(int64_t n);

// Intrinsics must inline into a function of their own instruction set, so each loop is written out with the type it needs.
#define VIVACE_SPIN(name, isa_flags, Vector, zero, step, last)                                \
  __attribute__((target(isa_flags), noinline)) float name(int64_t n) {                        \
    Vector acc[kChains];                                                                      \
    _Pragma("GCC unroll 12") for (int c = 0; c < kChains; ++c) acc[c] = zero(c);              \
    for (int64_t i = 0; i < n; ++i) {                                                         \
      _Pragma("GCC unroll 12") for (int c = 0; c < kChains; ++c) { step(acc[c]); }            \
    }                                                                                         \
    _Pragma("GCC unroll 12") for (int c = 1; c < kChains; ++c) acc[0] = last(acc[0], acc[c]); \
    float out[16] = {};                                                                       \
    std::memcpy(out, &acc[0], sizeof(Vector));                                                \
    return out[0];                                                                            \
  }

#define SSE_ZERO(c) _mm_set1_ps(static_cast<float>(c))
#define SSE_STEP(a) a = _mm_add_ps(_mm_mul_ps(a, _mm_set1_ps(0.5f)), _mm_set1_ps(1.f))
VIVACE_SPIN(float_sse2, "sse2", __m128, SSE_ZERO, SSE_STEP, _mm_add_ps)

#define AVX2_ZERO(c) _mm256_set1_ps(static_cast<float>(c))
#define AVX2_STEP(a) a = _mm256_fmadd_ps(a, _mm256_set1_ps(0.5f), _mm256_set1_ps(1.f))
VIVACE_SPIN(float_avx2, "avx2,fma", __m256, AVX2_ZERO, AVX2_STEP, _mm256_add_ps)

#define AVX512_ZERO(c) _mm512_set1_ps(static_cast<float>(c))
#define AVX512_STEP(a) a = _mm512_fmadd_ps(a, _mm512_set1_ps(0.5f), _mm512_set1_ps(1.f))
VIVACE_SPIN(float_avx512, "avx512f", __m512, AVX512_ZERO, AVX512_STEP, _mm512_add_ps)

// A pair of bfloat16 ones, and bytes of one, by the bits of a float.
#define BF16_STEP(a) a = _mm512_dpbf16_ps(a, (__m512bh)_mm512_set1_epi32(0x3f803f80), (__m512bh)_mm512_set1_epi32(0x3f803f80))
VIVACE_SPIN(bfloat_avx512, "avx512f,avx512bf16", __m512, AVX512_ZERO, BF16_STEP, _mm512_add_ps)

#define SSE_INT_ZERO(c) _mm_set1_epi32(c)
#define SSE_INT_STEP(a) a = _mm_add_epi32(a, _mm_madd_epi16(a, _mm_set1_epi16(3)))
VIVACE_SPIN(int16_sse2, "sse2", __m128i, SSE_INT_ZERO, SSE_INT_STEP, _mm_add_epi32)

#define AVX2_INT_ZERO(c) _mm256_set1_epi32(c)
// One chain after the other: the compiler would form all products first, for which there are no registers.
#define AVX2_INT16_STEP(a)                                             \
  a = _mm256_add_epi32(a, _mm256_madd_epi16(a, _mm256_set1_epi16(3))); \
  asm volatile("" : "+x"(a))
VIVACE_SPIN(int16_avx2, "avx2", __m256i, AVX2_INT_ZERO, AVX2_INT16_STEP, _mm256_add_epi32)

// Bytes as the kernels multiply them without VNNI.
#define AVX2_INT8_STEP(a)                                                                                         \
  a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(a, _mm256_set1_epi8(1)), _mm256_set1_epi16(1))); \
  asm volatile("" : "+x"(a))
VIVACE_SPIN(int8_avx2, "avx2", __m256i, AVX2_INT_ZERO, AVX2_INT8_STEP, _mm256_add_epi32)

#define AVX512_INT_ZERO(c) _mm512_set1_epi32(c)
#define AVX512_INT16_STEP(a) a = _mm512_add_epi32(a, _mm512_madd_epi16(a, _mm512_set1_epi16(3)))
VIVACE_SPIN(int16_avx512, "avx512f,avx512bw", __m512i, AVX512_INT_ZERO, AVX512_INT16_STEP, _mm512_add_epi32)
#define AVX512_INT8_STEP(a) a = _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_maddubs_epi16(a, _mm512_set1_epi8(1)), _mm512_set1_epi16(1)))
VIVACE_SPIN(int8_avx512, "avx512f,avx512bw", __m512i, AVX512_INT_ZERO, AVX512_INT8_STEP, _mm512_add_epi32)

// Written out, as in the kernels: of the intrinsics GCC 12 makes copies of the sums in memory.
#define VNNI_INT16_STEP(a) asm volatile("vpdpwssd %1, %1, %0" : "+v"(a) : "v"(_mm512_set1_epi16(3)))
VIVACE_SPIN(int16_vnni, "avx512f,avx512vnni", __m512i, AVX512_INT_ZERO, VNNI_INT16_STEP, _mm512_add_epi32)
#define AVX_VNNI_INT16_STEP(a) asm volatile("%{vex%} vpdpwssd %1, %1, %0" : "+x"(a) : "x"(_mm256_set1_epi16(3)))
VIVACE_SPIN(int16_avx_vnni, "avx2,avxvnni", __m256i, AVX2_INT_ZERO, AVX_VNNI_INT16_STEP, _mm256_add_epi32)
#define AVX_VNNI_STEP(a) asm volatile("%{vex%} vpdpbusd %1, %1, %0" : "+x"(a) : "x"(_mm256_set1_epi8(1)))
VIVACE_SPIN(int8_avx_vnni, "avx2,avxvnni", __m256i, AVX2_INT_ZERO, AVX_VNNI_STEP, _mm256_add_epi32)

#define VNNI_STEP(a) asm volatile("vpdpbusd %1, %1, %0" : "+v"(a) : "v"(_mm512_set1_epi8(1)))
VIVACE_SPIN(int8_vnni, "avx512f,avx512vnni", __m512i, AVX512_INT_ZERO, VNNI_STEP, _mm512_add_epi32)

// Six sums and the two factors fill the tile registers. A product takes some 16 cycles, so a sixteenth of the rounds will do.
template <AmxDot kDot>
float amx_spin(int64_t n) {
  AmxTiles::Config config;
  std::fill(config.rows, config.rows + 8, 16);
  std::fill(config.row_bytes, config.row_bytes + 8, 64);
  AmxTiles::configure(config);  // zeroes all
  for (int64_t i = 0; i < n / 16; ++i) {
    for (int half = 0; half < 2; ++half) {
      AmxTiles::dot<kDot, 0, 6, 7>(), AmxTiles::dot<kDot, 1, 6, 7>(), AmxTiles::dot<kDot, 2, 6, 7>();
      AmxTiles::dot<kDot, 3, 6, 7>(), AmxTiles::dot<kDot, 4, 6, 7>(), AmxTiles::dot<kDot, 5, 6, 7>();
    }
  }
  static_assert(kChains == 12);
  AmxTiles::release();
  return 0;
}

struct Loop {
  Spin spin;
  int operations;  // of one step
};

struct Loops {
  Loop float32, bfloat16, int16, int8;
};

Loops loops() {
  switch (isa()) {
    case Isa::baseline:
      return {{float_sse2, 8}, {float_sse2, 8}, {int16_sse2, 16}, {int16_sse2, 16}};
    case Isa::avx2:
      return {{float_avx2, 16}, {float_avx2, 16}, {int16_avx2, 32}, {int8_avx2, 64}};
    case Isa::avx2_vnni:
      return {{float_avx2, 16}, {float_avx2, 16}, {int16_avx_vnni, 32}, {int8_avx_vnni, 64}};
    case Isa::avx512:
      return {{float_avx512, 32}, {float_avx512, 32}, {int16_avx512, 64}, {int8_avx512, 128}};
    case Isa::avx512_vnni:
      return {{float_avx512, 32}, {float_avx512, 32}, {int16_vnni, 64}, {int8_vnni, 128}};
    case Isa::avx512_bf16:
      break;
    case Isa::amx:
      return {{float_avx512, 32}, {amx_spin<AmxDot::bf16>, 1024}, {int16_vnni, 64}, {amx_spin<AmxDot::u8s8>, 2048}};
  }
  return {{float_avx512, 32}, {bfloat_avx512, 64}, {int16_vnni, 64}, {int8_vnni, 128}};
}

template <class Body>
double fastest(int times, const Body& body) {
  double best = 1e30;
  for (int i = 0; i < times; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

double operations_a_second(const Loop& loop) {
  constexpr int64_t kRounds = 500'000;  // some 2 ms: short enough to find a moment without neighbours
  const double seconds = fastest(20, [&] {
    parallel_threads([&](int, int) {
      volatile float sink = loop.spin(kRounds);
      (void)sink;
    });
  });
  return static_cast<double>(kRounds) * kChains * loop.operations * num_threads() / seconds;
}

double bytes_a_second() {
  constexpr int64_t kBytes = int64_t{128} << 20, kWords = kBytes / 8;  // beyond a last-level cache
  const std::shared_ptr<void> memory = allocate_pages(kBytes);
  auto* words = static_cast<uint64_t*>(memory.get());
  parallel_for(kWords, 1 << 16, [&](int64_t begin, int64_t end) { std::fill(words + begin, words + end, 1); });
  const double seconds = fastest(4, [&] {
    parallel_for(kWords, 1 << 16, [&](int64_t begin, int64_t end) {
      uint64_t sums[8] = {};
      for (int64_t i = begin; i + 8 <= end; i += 8)
        for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
      volatile uint64_t sink = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
      (void)sink;
    });
  });
  return static_cast<double>(kBytes) / seconds;
}

}  // namespace

MachinePeak measure_peak() {
  const Loops l = loops();
  MachinePeak peak{.float32 = operations_a_second(l.float32), .bytes = bytes_a_second()};
  peak.bfloat16 = l.bfloat16.spin == l.float32.spin ? peak.float32 : operations_a_second(l.bfloat16);
  peak.int16 = operations_a_second(l.int16);
  peak.int8 = operations_a_second(l.int8);
  return peak;
}

}  // namespace vivace::cpu
