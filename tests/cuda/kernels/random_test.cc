// Random numbers as torch.Generator("cuda") has them.
#include "backends/cuda/kernels/random.h"

#include "testing.h"

namespace vivace::cuda {
namespace {

Tensor randn(int64_t n, uint64_t seed, uint64_t offset = 0, int multiprocessors = 132, bool normal = true) {
  Tensor y({n}, DType::float32);
  run_in_any_order(y, make_random({.out = y.as<float>(), .count = n, .seed = seed, .offset = offset, .normal = normal}, multiprocessors, 2048));
  return y;
}

TEST(CudaRandom, EqualsTorch) {
  // torch.randn(12, generator=torch.Generator("cuda").manual_seed(0)), as programs that reproduce its pictures elsewhere document it.
  const float wanted[] = {-0.92466259f, -0.42534415f, -2.6438457f,  0.14518388f,  -0.12086647f, -0.57972564f,
                          -0.62285122f, -0.32838709f, -1.07454231f, -0.36314407f, -1.67105067f, 2.26550497f};
  const Tensor y = randn(12, 0);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(y.floats()[i], wanted[i], 1e-6) << i;  // cuRAND's sine is approximate
}

// Philox as its paper writes it, with the counter as one number of 128 bits.
struct Counter {
  uint32_t x[4];
};
Counter philox(uint64_t seed, uint64_t high, uint64_t low) {
  Counter c{{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32), static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}};
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int r = 0; r < 10; ++r, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
    const uint64_t p0 = uint64_t{0xd2511f53u} * c.x[0], p1 = uint64_t{0xcd9e8d57u} * c.x[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.x[1] ^ k0, static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c.x[3] ^ k1,
          static_cast<uint32_t>(p0)}};
  }
  return c;
}

// Element i belongs to thread i % threads; each of its draws of four serves four elements that are a grid apart.
TEST(CudaRandom, LargeTensorsGoRoundTheGrid) {
  const int64_t threads = 2048, n = 4 * threads + 3 * threads + 5;  // one multiprocessor: a second draw, which is not used up
  const Tensor y = randn(n, 0x123456789abcdefull, 8, 1, false), z = randn(n, 0x123456789abcdefull, 8, 1);
  for (int64_t i = 0; i < n; i += 97) {
    const int64_t turn = i / threads;
    const Counter c = philox(0x123456789abcdefull, static_cast<uint64_t>(i % threads), static_cast<uint64_t>(2 + turn / 4));
    const double u = (c.x[turn % 4] + 0.5) * 0x1p-32;
    ASSERT_NEAR(y.floats()[static_cast<size_t>(i)], u == 1 ? 0 : u, 0x1p-23) << i;
    const uint32_t* pair = c.x + turn % 4 / 2 * 2;
    const double radius = std::sqrt(-2 * std::log((pair[0] + 0.5) * 0x1p-32)), angle = (pair[1] + 0.5) * 0x1p-32 * 2 * M_PI;
    ASSERT_NEAR(z.floats()[static_cast<size_t>(i)], radius * (turn % 2 ? std::cos(angle) : std::sin(angle)), 4e-6) << i;
  }
  const auto call = make_random({.count = n, .offset = 8}, 1, 2048);
  EXPECT_EQ(offset_after(call), 16u);
  EXPECT_EQ(offset_after(make_random({.count = 12}, 132, 2048)), 4u);
}

}  // namespace
}  // namespace vivace::cuda
