// Random numbers equal to torch.Generator("cuda"): Philox 4x32-10 (Salmon et al., SC 2011), a subsequence a thread, four numbers at a time, each a
// whole grid further on in the tensor. The numbers of a tensor so depend on the grid, which torch takes from the GPU's size (random.h).
#pragma once

#include "movement.cuh"

namespace vivace::cuda {

struct PhiloxNumbers {
  unsigned x[4];
};
__device__ inline PhiloxNumbers philox(unsigned long long seed, unsigned long long subsequence, unsigned long long block) {
  PhiloxNumbers c{{static_cast<unsigned>(block), static_cast<unsigned>(block >> 32), static_cast<unsigned>(subsequence),
                   static_cast<unsigned>(subsequence >> 32)}};
  unsigned key[2] = {static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const unsigned a = 0xd2511f53u, b = 0xcd9e8d57u;
    c = {{high_product(b, c.x[2]) ^ c.x[1] ^ key[0], b * c.x[2], high_product(a, c.x[0]) ^ c.x[3] ^ key[1], a * c.x[0]}};
    key[0] += 0x9e3779b9u;
    key[1] += 0xbb67ae85u;
  }
  return c;
}

// cuRAND's formulas.
__device__ inline void normal_pair(unsigned x, unsigned y, float& first, float& second) {
  const float u = fmaf(static_cast<float>(x), 2.3283064e-10f, 2.3283064e-10f / 2.f);
  const float angle = fmaf(static_cast<float>(y), 2.3283064e-10f * 6.2831855f, 2.3283064e-10f * 6.2831855f / 2.f);
  const float radius = sqrtf(-2.f * logf(u));
  fast_sincos(angle, first, second);
  first *= radius;
  second *= radius;
}
__device__ inline float uniform(unsigned x) {
  const float u = fmaf(static_cast<float>(x), 2.3283064e-10f, 2.3283064e-10f / 2.f);
  return u == 1.f ? 0.f : u;  // cuRAND's (0, 1] turned round
}

__device__ inline void random_numbers(const RandomArguments& a) {
  long long i = first_index();
  const long long stride = index_step();
  const unsigned long long subsequence = static_cast<unsigned long long>(i);
  for (unsigned long long block = a.offset / 4; i < a.count; ++block) {
    const PhiloxNumbers bits = philox(a.seed, subsequence, block);
    float y[4];
    if (a.normal) {
      normal_pair(bits.x[0], bits.x[1], y[0], y[1]);
      normal_pair(bits.x[2], bits.x[3], y[2], y[3]);
    } else {
      for (int k = 0; k < 4; ++k) y[k] = uniform(bits.x[k]);
    }
    for (int k = 0; k < 4; ++k, i += stride)
      if (i < a.count) a.out[i] = y[k];
  }
}

}  // namespace vivace::cuda
