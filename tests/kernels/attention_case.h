// An attention problem with its solution in float64 and bounds that follow from the arithmetic.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/attention/attention.h"
#include "base/parallel.h"
#include "tensor/half.h"

namespace vivace::cpu {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline float round_to(DType dtype, float x) {
  if (dtype == bfloat16) return static_cast<float>(bf16(x));
  return dtype == float16 ? static_cast<float>(f16(x)) : x;
}

// Elements of one dtype, seen as floats.
struct Buffer {
  DType dtype;
  std::vector<uint16_t> half;
  std::vector<float> full;
  Buffer(DType d, size_t n) : dtype(d), half(d == float32 ? 0 : n), full(d == float32 ? n : 0) {}
  void* data() { return dtype == float32 ? static_cast<void*>(full.data()) : half.data(); }
  void set(size_t i, float x) {
    if (dtype == float32)
      full[i] = x;
    else
      half[i] = dtype == bfloat16 ? bf16(x).bits : f16(x).bits;
  }
  float get(size_t i) const {
    if (dtype == float32) return full[i];
    if (dtype == bfloat16) return static_cast<float>(std::bit_cast<bf16>(half[i]));
    return static_cast<float>(std::bit_cast<f16>(half[i]));
  }
  void* at(size_t i) { return static_cast<char*>(data()) + i * dtype_size(dtype); }
};

// Workspaces of the exact size asked for, so that AddressSanitizer sees the first byte too far.
struct Workspace {
  void* data;
  explicit Workspace(size_t bytes) : data(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {}
  ~Workspace() { std::free(data); }
  Workspace(const Workspace&) = delete;
};

struct Case {
  AttentionShape shape;
  AttentionArgs args;
  Buffer q, kv, out;
  std::vector<float> mask;
  std::vector<double> expected, bound;  // [batch, query, heads * head_dim]

  // Q, K and V lie side by side in rows of their own with a gap after them, as slices of a fused projection do.
  explicit Case(const AttentionShape& s, uint32_t seed = 1, float magnitude = 1.f)
      : shape(s),
        q(s.dtype, s.batch * s.q_len * width() * 2),
        kv(s.dtype, s.batch * s.kv_len * (2 * width() + 8)),
        out(s.dtype, s.batch * s.q_len * (width() + 8)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.f, magnitude);
    for (size_t i = 0; i < size_t(s.batch * s.q_len * width() * 2); ++i) q.set(i, normal(random));
    for (size_t i = 0; i < size_t(s.batch * s.kv_len * (2 * width() + 8)); ++i) kv.set(i, normal(random));
    for (size_t i = 0; i < size_t(s.batch * s.q_len * (width() + 8)); ++i) out.set(i, -77.f);
    args.q = q.at(width());
    args.k = kv.data();
    args.v = kv.at(width());
    args.out = out.data();
    args.q_strides = {s.q_len * width() * 2, width() * 2};
    args.k_strides = args.v_strides = {s.kv_len * (2 * width() + 8), 2 * width() + 8};
    args.out_strides = {s.q_len * (width() + 8), width() + 8};
    if (s.mask) {
      // Broadcast over heads, rows 4 floats apart; a third of the entries hidden.
      args.mask_query = s.kv_len + 4;
      args.mask_batch = s.q_len * args.mask_query;
      mask.resize(s.batch * args.mask_batch);
      for (float& m : mask) m = random() % 3 == 0 ? -kInf : normal(random);
      args.mask = mask.data();
    }
  }
  Case(const Case&) = delete;

  int64_t width() const { return shape.heads * shape.head_dim; }
  size_t q_at(int64_t b, int64_t t, int64_t h) const { return b * args.q_strides.batch + t * args.q_strides.token + width() + h * shape.head_dim; }
  size_t k_at(int64_t b, int64_t t, int64_t h) const { return b * args.k_strides.batch + t * args.k_strides.token + h * shape.head_dim; }
  size_t v_at(int64_t b, int64_t t, int64_t h) const { return k_at(b, t, h) + width(); }
  size_t out_at(int64_t b, int64_t t, int64_t h) const { return b * args.out_strides.batch + t * args.out_strides.token + h * shape.head_dim; }

  // Unit roundoffs: a score is a sum of head_dim products; its error, and that of the exponential, is a relative error of the key's weight; the
  // sums over keys add theirs. bfloat16 rounds the weights and takes an exponential within 1e-4.
  void solve() {
    const AttentionShape& s = shape;
    const double u32 = 0x1p-24, u_out = s.dtype == float32 ? u32 : s.dtype == bfloat16 ? 0x1p-8 : 0x1p-11;
    const double u_weight = s.dtype == bfloat16 ? 0x1p-8 + 1e-4 : 4 * u32;
    expected.assign(s.batch * s.q_len * width(), 0.);
    bound = expected;
    std::vector<double> score(s.kv_len), error(s.kv_len);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const std::vector<double> queries = rows(q, q_at(b, 0, h), args.q_strides.token, s.q_len);
        const std::vector<double> keys = rows(kv, k_at(b, 0, h), args.k_strides.token, s.kv_len);
        const std::vector<double> values = rows(kv, v_at(b, 0, h), args.v_strides.token, s.kv_len);
        for (int64_t i = 0; i < s.q_len; ++i) {
          double largest = -kInf, span = 0, sum = 0;
          for (int64_t j = 0; j < s.kv_len; ++j) {
            double dot = 0, size = 0;
            for (int64_t d = 0; d < s.head_dim; ++d) {
              const double product = queries[i * s.head_dim + d] * keys[j * s.head_dim + d];
              dot += product;
              size += std::abs(product);
            }
            score[j] = dot * double(s.scale);
            error[j] = u32 * double(s.head_dim + 2) * size * std::abs(double(s.scale));
            if (s.mask) score[j] += double(mask[b * args.mask_batch + h * args.mask_head + i * args.mask_query + j]);
            if (s.causal && j > i) score[j] = -kInf;
            largest = std::max(largest, score[j]);
            if (std::isfinite(score[j])) span = std::max(span, std::abs(score[j]));
          }
          if (largest == -kInf) continue;  // sees nothing: zeros, exactly
          for (int64_t j = 0; j < s.kv_len; ++j) {
            score[j] = std::exp(score[j] - largest);
            sum += score[j];
            error[j] += 8 * u32 * (span + 1) + u_weight + u32 * double(s.kv_len + 8);
          }
          for (int64_t d = 0; d < s.head_dim; ++d) {
            double x = 0, slack = 0;
            for (int64_t j = 0; j < s.kv_len; ++j) x += score[j] / sum * values[j * s.head_dim + d];
            for (int64_t j = 0; j < s.kv_len; ++j) slack += score[j] / sum * (std::abs(values[j * s.head_dim + d]) + std::abs(x)) * error[j];
            const size_t at = (b * s.q_len + i) * width() + h * s.head_dim + d;
            expected[at] = x;
            bound[at] = slack + u_out * (std::abs(x) + slack) + 0x1p-24;  // the last: half precision's smallest step
          }
        }
      }
    }
  }

  // One head's rows as doubles.
  std::vector<double> rows(const Buffer& from, size_t at, int64_t stride, int64_t count) const {
    std::vector<double> to;
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t d = 0; d < shape.head_dim; ++d) to.push_back(from.get(at + t * stride + d));
    }
    return to;
  }

  void run(const AttentionBackend& backend) {
    Workspace workspace(backend.workspace_bytes(shape, num_threads()));
    backend.run(shape, args, workspace.data);
  }

  // Compares every element, and the gap after each row, which must be untouched.
  void check(const std::string& what) {
    const AttentionShape& s = shape;
    int shown = 0;
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t i = 0; i < s.q_len; ++i) {
        for (int64_t c = 0; c < width(); ++c) {
          const size_t at = (b * s.q_len + i) * width() + c;
          const double got = out.get(out_at(b, i, 0) + c);
          if (!(std::abs(got - expected[at]) <= bound[at]) && ++shown <= 3) {
            ADD_FAILURE() << what << " batch " << b << " query " << i << " column " << c << ": " << got << ", expected " << expected[at] << " +- "
                          << bound[at];
          }
        }
        for (int64_t c = width(); c < width() + 8; ++c) ASSERT_EQ(out.get(out_at(b, i, 0) + c), -77.f) << what << " wrote past its row";
      }
  }
};

}  // namespace vivace::cpu
