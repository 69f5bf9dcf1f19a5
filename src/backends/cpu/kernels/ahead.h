// What a product on AMX tiles fetches from memory while it multiplies. Weights are read from memory once a forward; without this the tiles would wait
// during the first pass over each panel, and memory would be idle during the others. (Vector registers gain 1-2 %, so their products ignore it.)
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace vivace::cpu {

// `lines` lines of 64 bytes from `at` on for every 16 units of K, into the second cache. Any address will do, a prefetch never faults.
struct Ahead {
  const char* at = nullptr;
  int lines = 0;

  [[gnu::always_inline]] inline void fetch() {
    for (int i = 0; i < lines; ++i) _mm_prefetch(at + i * 64, _MM_HINT_T1);
    at += lines * 64;
  }
};

}  // namespace vivace::cpu
