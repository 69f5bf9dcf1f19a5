// Random numbers equal to torch.Generator("cpu"): mt19937, and torch.randn's two ways of filling; or to torch.Generator("cuda"), Philox.
// rand, and randn of 16 values or more, equal torch's AVX2 and AVX-512 builds bit for bit; randn of fewer goes through the
// C library's double-precision logarithm, sine and cosine, whose last bit seldom survives the rounding to float.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "vivace/api.h"
#include "vivace/tensor.h"

namespace vivace VIVACE_API {

class Generator {
 public:
  // torch's default seed.
  static constexpr uint64_t kDefaultSeed = 67280421310721ull;

  explicit Generator(uint64_t seed = kDefaultSeed) { manual_seed(seed); }
  // torch.Generator("cuda").manual_seed(seed), whatever the pictures are made on; equal to a unit in the sixth place, as CUDA's own sine is
  // approximate. A tensor of more numbers than the GPU runs threads (its multiprocessors times the threads of each) depends on the GPU: an H100 here.
  static Generator cuda(uint64_t seed = kDefaultSeed, int64_t gpu_threads = 132 * 2048);
  // Restarts the stream, as torch.Generator.manual_seed. Only the low 32 bits seed mt19937, as in torch.
  Generator& manual_seed(uint64_t seed);
  uint64_t initial_seed() const { return seed_; }
  // Where it is in its stream, in the bytes of torch.Generator.get_state, which go both ways: uint8 [5056], or [16] of a GPU's. Throws UsageError for
  // bytes that are none of this kind of generator.
  Tensor get_state() const;
  Generator& set_state(const Tensor& state);

  // Of mt19937; UsageError for a GPU's.
  uint32_t random32();
  uint64_t random64();
  // torch.randn(shape, generator=g): float32, standard normal.
  Tensor randn(const Shape& shape);
  // torch.rand(shape, generator=g): float32 in [0, 1).
  Tensor rand(const Shape& shape);

 private:
  void refill();
  double normal_double();  // one value of torch's normal_distribution<double>, which caches its second value

  uint64_t seed_ = 0;
  std::array<uint32_t, 624> state_{};
  uint32_t next_ = 624;
  bool has_cached_normal_ = false;
  double cached_normal_ = 0;
  int64_t gpu_threads_ = 0;  // of Philox; 0: mt19937
  uint64_t offset_ = 0;
};

// Diffusers' randn_tensor. One generator draws the whole tensor at once; several draw image b's noise, of shape [1, ...],
// from generators[b]. Throws UsageError for none, a null one, or a number that is neither 1 nor shape[0].
Tensor randn_tensor(const Shape& shape, std::span<Generator* const> generators);

}  // namespace VIVACE_API
