// What a level's convolution kernels compute, in plain code that rounds where they round, so that their errors are known on every machine. Only the
// order in which float32 sums are taken is another one.
#pragma once

#include "backends/cpu/kernels/int16_row.h"
#include "conv_matrices.h"
#include "conv_problem.h"

namespace vivace::cpu::conv_test {

enum class Factors { float32, bfloat16, int16 };
inline Factors factors_of(const ConvKernel& kernel) {
  return kernel.name.ends_with("bf16") ? Factors::bfloat16 : kernel.name.ends_with("int16") ? Factors::int16 : Factors::float32;
}

class Simulation {
 public:
  Simulation(const ConvKernel& kernel, const Problem& problem)
      : m_(matrices_of(kernel.name)),
        factors_(factors_of(kernel)),
        p_(problem),
        positions_(m_.pos * m_.pos),
        ci_(problem.c.spec.in_channels),
        co_(problem.c.spec.out_channels) {
    const DType kept = factors_ == Factors::bfloat16 ? DType::float32 : problem.c.spec.w;
    weights_.resize(static_cast<size_t>(positions_ * co_ * ci_)), weight_scales_.assign(static_cast<size_t>(positions_ * co_), 1);
    for (int q = 0; q < positions_; ++q)
      for (int64_t o = 0; o < co_; ++o) {
        float* row = &weights_[static_cast<size_t>((q * co_ + o) * ci_)];
        for (int64_t i = 0; i < ci_; ++i) {
          double sum = 0;
          for (int t = 0; t < 9; ++t)
            sum += m_.weight[static_cast<size_t>(q / m_.pos * 3 + t / 3)] * m_.weight[static_cast<size_t>(q % m_.pos * 3 + t % 3)] *
                   rounded(kept, p_.weight[static_cast<size_t>((o * ci_ + i) * 9 + t)]);
          row[i] = static_cast<float>(sum);
        }
        if (factors_ == Factors::int16) {
          float& scale = weight_scales_[static_cast<size_t>(q * co_ + o)] = 0;
          for (int64_t first = 0; first < ci_; first += kConvInt16Block) scale = std::max(scale, block_of(row, first).scale);
        }
        narrow(row, weight_scales_[static_cast<size_t>(q * co_ + o)]);
      }
  }

  // [n, oh, ow, o], as the kernel's y.
  std::vector<double> run() const {
    std::vector<double> result(p_.expected.size());
    for (int64_t n = 0; n < p_.c.n; ++n)
      for (int64_t ty = 0; ty < p_.oh; ty += m_.out)
        for (int64_t tx = 0; tx < p_.ow; tx += m_.out) tile(n, ty, tx, result);
    return result;
  }

 private:
  Int16Row block_of(const float* row, int64_t first) const {
    RowSize size;
    for (int64_t i = first; i < std::min<int64_t>(ci_, first + kConvInt16Block); ++i)
      size.squares += row[i] * row[i], size.largest = std::max(size.largest, std::bit_cast<int32_t>(std::abs(row[i])));
    return {size, kConvInt16Block};
  }
  // A row of channels as its factors: of int16, in steps of `scale`.
  void narrow(float* row, float scale) const {
    for (int64_t i = 0; i < ci_; ++i)
      row[i] = factors_ == Factors::bfloat16 ? static_cast<float>(bf16(row[i]))
               : factors_ == Factors::int16  ? std::nearbyint(row[i] / scale)
                                             : row[i];
  }

  void tile(int64_t n, int64_t ty, int64_t tx, std::vector<double>& result) const {
    const int up = p_.c.spec.upsample2x ? 2 : 1;
    const int64_t ih = p_.c.h * up, iw = p_.c.w * up;
    const auto pixel = [&](int64_t y, int64_t x, int64_t k) {
      return y < 0 || x < 0 || y >= ih || x >= iw ? 0.f : static_cast<float>(p_.input[static_cast<size_t>(((n * ih + y) * iw + x) * ci_ + k)]);
    };
    std::vector<float> products(static_cast<size_t>(positions_ * co_)), row(static_cast<size_t>(ci_));
    for (int q = 0; q < positions_; ++q) {
      for (int64_t k = 0; k < ci_; ++k) {
        float sum = 0;
        for (int i = 0; i < m_.in; ++i) {
          float along = 0;
          for (int j = 0; j < m_.in; ++j)
            along += static_cast<float>(m_.input[static_cast<size_t>(q % m_.pos * m_.in + j)]) * pixel(ty - 1 + i, tx - 1 + j, k);
          sum += static_cast<float>(m_.input[static_cast<size_t>(q / m_.pos * m_.in + i)]) * along;
        }
        row[static_cast<size_t>(k)] = sum;
      }
      const float* weights = &weights_[static_cast<size_t>(q * co_ * ci_)];
      float* to = &products[static_cast<size_t>(q * co_)];
      if (factors_ == Factors::int16) {
        multiply_blocks(row.data(), weights, &weight_scales_[static_cast<size_t>(q * co_)], to);
      } else {
        narrow(row.data(), 1);
        for (int64_t o = 0; o < co_; ++o)
          for (int64_t k = 0; k < ci_; ++k) to[o] = std::fma(row[static_cast<size_t>(k)], weights[o * ci_ + k], to[o]);
      }
    }
    for (int i = 0; i < m_.out && ty + i < p_.oh; ++i)
      for (int j = 0; j < m_.out && tx + j < p_.ow; ++j)
        for (int64_t o = 0; o < co_; ++o) {
          float sum = 0;
          for (int q = 0; q < positions_; ++q)
            sum += static_cast<float>(m_.output[static_cast<size_t>(i * m_.pos + q / m_.pos)] *
                                      m_.output[static_cast<size_t>(j * m_.pos + q % m_.pos)]) *
                   products[static_cast<size_t>(q * co_ + o)];
          if (p_.c.bias) sum += p_.bias[static_cast<size_t>(o)];
          result[static_cast<size_t>(((n * p_.oh + ty + i) * p_.ow + tx + j) * co_ + o)] = rounded(p_.c.spec.act, sum);
        }
  }

  // Integers in int32 a block of channels, the blocks' sums in float32.
  void multiply_blocks(const float* row, const float* weights, const float* scales, float* to) const {
    for (int64_t first = 0; first < ci_; first += kConvInt16Block) {
      const Int16Row block = block_of(row, first);
      for (int64_t o = 0; o < co_; ++o) {
        int32_t sum = 0;
        for (int64_t k = first; k < std::min<int64_t>(ci_, first + kConvInt16Block); ++k)
          sum += static_cast<int32_t>(std::nearbyint(row[k] * block.inverse)) * static_cast<int32_t>(weights[o * ci_ + k]);
        to[o] = std::fma(static_cast<float>(sum), block.scale, to[o]);
      }
    }
    for (int64_t o = 0; o < co_; ++o) to[o] *= scales[o];
  }

  const Matrices m_;
  const Factors factors_;
  const Problem& p_;
  const int positions_;
  const int64_t ci_, co_;
  std::vector<float> weights_;        // [position][o][i]
  std::vector<float> weight_scales_;  // [position][o], of int16
};

}  // namespace vivace::cpu::conv_test
