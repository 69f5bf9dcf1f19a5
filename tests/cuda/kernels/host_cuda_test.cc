// What the host makes of CUDA: meeting points, the layouts of tensor cores, and what it reports of a kernel that is wrong.
#include "../host/host_cuda.h"

#include <gtest/gtest.h>

#include <random>

namespace vivace::cuda {
namespace {

using host_cuda::run;

std::string error_of(unsigned threads, unsigned shared, const std::function<void()>& kernel) {
  try {
    run({.block = threads, .shared = shared}, kernel);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

TEST(HostCuda, EveryThreadOfEveryBlockRunsOnce) {
  for (unsigned seed : {0u, 1u}) {
    std::vector<int> seen(2 * 3 * 4 * 64);
    run({.grid = {2, 3, 4}, .block = 64, .seed = seed}, [&] {
      const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      ++seen[block * blockDim.x + threadIdx.x];
    });
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
  }
}

// Each thread reads what another wrote: right in any order with the barrier, by luck without.
void reverse(std::vector<int>& out, bool barrier) {
  int* const shared = reinterpret_cast<int*>(shared_memory());
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (barrier) __syncthreads();
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST(HostCuda, AnOrderShowsAMissingBarrier) {
  std::vector<std::vector<int>> with, without;
  for (unsigned seed : {0u, 1u, 2u})
    for (bool barrier : {true, false}) {
      std::vector<int> out(64);
      run({.block = 64, .shared = 256, .seed = seed}, [&] { reverse(out, barrier); });
      (barrier ? with : without).push_back(out);
    }
  EXPECT_EQ(with[0], with[1]);
  EXPECT_EQ(with[0], with[2]);
  EXPECT_EQ(with[0][0], 63);
  EXPECT_NE(without[0], without[1]);
}

TEST(HostCuda, SharedMemoryIsNoNumberWhenABlockBegins) {
  float first = 0;
  run({.grid = {2}, .block = 32, .shared = 4}, [&] {
    float* const shared = reinterpret_cast<float*>(shared_memory());
    if (threadIdx.x == 0) first = *shared;
    *shared = 1;
  });
  EXPECT_TRUE(std::isnan(first));
}

TEST(HostCuda, WarpsShuffleAndVote) {
  std::vector<int> from(64), opposite(64), any(64);
  run({.block = 64, .seed = 3}, [&] {
    const int t = static_cast<int>(threadIdx.x);
    from[threadIdx.x] = shuffle(t, 5);
    opposite[threadIdx.x] = shuffle_xor(t, 31);
    any[threadIdx.x] = any_of_warp(t == 40);
  });
  for (int t = 0; t < 64; ++t) {
    EXPECT_EQ(from[static_cast<size_t>(t)], t / 32 * 32 + 5);
    EXPECT_EQ(opposite[static_cast<size_t>(t)], t / 32 * 32 + 31 - t % 32);
    EXPECT_EQ(any[static_cast<size_t>(t)], t / 32);
  }
}

TEST(HostCuda, CopiesHappenWhenWaitedFor) {
  alignas(16) const float source[4] = {1, 2, 3, 4};
  bool early = true, late = false, zeros = false;
  run({.block = 32, .shared = 48}, [&] {
    float* const shared = reinterpret_cast<float*>(shared_memory());
    if (threadIdx.x != 0) return;
    copy_async_16(shared, source, true);
    copy_async_commit();
    copy_async_16(shared + 4, source, false);
    copy_async_commit();
    early = shared[0] == 1;
    copy_async_wait<1>();
    late = shared[3] == 4 && std::isnan(shared[4]);
    copy_async_wait<0>();
    zeros = shared[4] == 0 && shared[7] == 0 && std::isnan(shared[8]);
  });
  EXPECT_FALSE(early);
  EXPECT_TRUE(late);
  EXPECT_TRUE(zeros);
}

TEST(HostCuda, WrongKernelsAreReported) {
  EXPECT_THROW(run({.block = 33}, [] {}), std::runtime_error);
  const auto expect = [](const std::string& error, const char* text) { EXPECT_NE(error.find(text), std::string::npos) << error; };
  expect(error_of(64, 0,
                  [] {
                    if (threadIdx.x < 32) __syncthreads();
                  }),
         "waits for lane 32, which has ended");
  expect(error_of(64, 0,
                  [] {
                    if (threadIdx.x < 32)
                      __syncthreads();
                    else
                      __syncthreads();
                  }),
         "waits for block (0, 0, 0), lane 32");
  expect(error_of(32, 0,
                  [] {
                    if (threadIdx.x < 16)
                      (void)shuffle(1, 0);
                    else
                      (void)shuffle(1, 0);
                  }),
         "meets");
  expect(error_of(32, 0,
                  [] {
                    if (threadIdx.x < 16) (void)shuffle(1, 0);
                  }),
         "lanes of its warp that have ended");
  expect(error_of(32, 64, [] { copy_async_16(shared_memory() + 4, shared_memory(), true); }), "aligned to 16");
  expect(error_of(32, 64, [] { copy_async_16(shared_memory(), shared_memory(), true); }), "did not wait");
}

// PTX's own tables of ldmatrix.
TEST(HostCuda, TilesComeInRowsAndTransposed) {
  std::vector<std::vector<unsigned>> rows(32), columns(32);
  run({.block = 32, .shared = 4 * 8 * 16}, [&] {
    auto* const shared = reinterpret_cast<unsigned short*>(shared_memory());
    if (threadIdx.x == 0)
      for (unsigned short i = 0; i < 256; ++i) shared[i] = i;  // element of tile t, row r, column c: 64 t + 8 r + c
    __syncthreads();
    unsigned x[4];
    load_tiles(x, shared + 8 * threadIdx.x);
    rows[threadIdx.x].assign(x, x + 4);
    load_tiles_transposed(x, shared + 8 * threadIdx.x);
    columns[threadIdx.x].assign(x, x + 4);
  });
  for (unsigned l = 0; l < 32; ++l)
    for (unsigned t = 0; t < 4; ++t) {
      const unsigned row = 64 * t + 8 * (l / 4) + 2 * (l % 4), column = 64 * t + 8 * 2 * (l % 4) + l / 4;
      EXPECT_EQ(rows[l][t], row | (row + 1) << 16);
      EXPECT_EQ(columns[l][t], column | (column + 8) << 16);
    }
}

// a and b through shared memory and ldmatrix into the multiplication, as kernels do it: the product is right only if all three layouts are.
TEST(HostCuda, ProductsOfLoadedTiles) {
  std::mt19937 random(1);
  std::vector<int> a(16 * 16), b(8 * 16);  // b: [column, k]
  for (int& x : a) x = static_cast<int>(random() % 17) - 8;
  for (int& x : b) x = static_cast<int>(random() % 17) - 8;
  std::vector<float> c(16 * 8);
  run({.block = 32, .shared = 24 * 32, .seed = 1}, [&] {
    auto* const shared = reinterpret_cast<unsigned short*>(shared_memory());
    for (unsigned i = threadIdx.x; i < 24 * 16; i += 32) shared[i] = bf16_bits(static_cast<float>(i < 256 ? a[i] : b[i - 256]));
    __syncthreads();
    const unsigned l = threadIdx.x;
    unsigned x[4], y[4];
    load_tiles(x, shared + l % 16 * 16 + l / 16 * 8);
    load_tiles(y, shared + 256 + l % 8 * 16 + l / 8 % 2 * 8);
    float sums[4] = {1, 1, 1, 1};
    multiply_bf16(sums, x, y[0], y[1]);
    for (unsigned e = 0; e < 4; ++e) c[(l / 4 + e / 2 * 8) * 8 + 2 * (l % 4) + e % 2] = sums[e];
  });
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column) {
      int sum = 1;
      for (size_t k = 0; k < 16; ++k) sum += a[row * 16 + k] * b[column * 16 + k];
      EXPECT_EQ(c[row * 8 + column], static_cast<float>(sum));
    }
}

TEST(HostCuda, ProductsOfBytes) {
  std::mt19937 random(2);
  std::vector<int8_t> a(16 * 32), b(8 * 32);
  for (int8_t& x : a) x = static_cast<int8_t>(random());
  for (int8_t& x : b) x = static_cast<int8_t>(random());
  std::vector<int> c(16 * 8);
  run({.block = 32, .shared = 24 * 32}, [&] {
    char* const shared = shared_memory();
    for (unsigned i = threadIdx.x; i < 24 * 32; i += 32) shared[i] = static_cast<char>(i < 512 ? a[i] : b[i - 512]);
    __syncthreads();
    const unsigned l = threadIdx.x;
    unsigned x[4], y[4];
    load_tiles(x, shared + l % 16 * 32 + l / 16 * 16);
    load_tiles(y, shared + 512 + l % 8 * 32 + l / 8 % 2 * 16);
    int sums[4] = {};
    multiply_int8(sums, x, y[0], y[1]);
    for (unsigned e = 0; e < 4; ++e) c[(l / 4 + e / 2 * 8) * 8 + 2 * (l % 4) + e % 2] = sums[e];
  });
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column) {
      int sum = 0;
      for (size_t k = 0; k < 32; ++k) sum += a[row * 32 + k] * b[column * 32 + k];
      EXPECT_EQ(c[row * 8 + column], sum);
    }
}

}  // namespace
}  // namespace vivace::cuda
