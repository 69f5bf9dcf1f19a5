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

// How the two backends with products of integers round.
struct Integers {
  static constexpr int64_t kBlock = 256;
  bool of_bytes;
  double most_weight;
  static Integers bytes() { return {true, 32767}; }
  static Integers words() { return {false, 8191}; }

  // Steps that keep sums of products within int32, as Int16Row has them.
  static double step(const std::vector<double>& row, double norm) {
    double largest = 0, squares = 0;
    for (double x : row) largest = std::max(largest, std::abs(x)), squares += x * x;
    const double root = std::sqrt(static_cast<double>(row.size()));
    const double length = largest > 0x1p-50 && largest < 0x1p50 ? std::sqrt(squares) : largest * root;  // float32's squares mean nothing then
    return std::max(largest / 16383, length / (norm - root / 2 - 16));
  }
  double row_step(const std::vector<double>& row) const {
    if (!of_bytes) return step(row, 46340);
    double largest = 0;
    for (double x : row) largest = std::max(largest, std::abs(x));
    return largest / 127;
  }
  double value_step(const std::vector<double>& column) const {
    return step(column, 0x1p31 / ((most_weight + 1) * std::sqrt(static_cast<double>(column.size()))));
  }
};

struct Case {
  AttentionShape shape;
  AttentionArgs args;
  Buffer q, kv, out;
  std::vector<float> mask;
  std::vector<double> expected, bound;          // [batch, query, heads * head_dim]
  std::vector<double> int8_bound, int16_bound;  // the same, of products of integers

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
    bound = int8_bound = int16_bound = expected;
    std::vector<double> score(s.kv_len), error(s.kv_len);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const std::vector<double> queries = rows(q, q_at(b, 0, h), args.q_strides.token, s.q_len);
        const std::vector<double> keys = rows(kv, k_at(b, 0, h), args.k_strides.token, s.kv_len);
        const std::vector<double> values = rows(kv, v_at(b, 0, h), args.v_strides.token, s.kv_len);
        IntegerSteps bytes(Integers::bytes(), queries, keys, values, s), words(Integers::words(), queries, keys, values, s);
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
            if (s.mask || s.causal) continue;                             // which they refuse
            int8_bound[at] = bound[at] + bytes.bound(queries, keys, values, s, i, d, score, sum, x) * (1 + u_out);
            int16_bound[at] = bound[at] + words.bound(queries, keys, values, s, i, d, score, sum, x) * (1 + u_out);
          }
        }
      }
    }
  }

  // What products of integers round: half a step of queries and of keys less their mean, of weights relative to the block's largest, and of values
  // less their mean.
  struct IntegerSteps {
    const double most_weight;
    std::vector<double> query, key, value, mean;  // steps of each row, of each row, of each column in its worst block; of keys
    IntegerSteps(const Integers& integers, const std::vector<double>& queries, const std::vector<double>& keys, const std::vector<double>& values,
                 const AttentionShape& s)
        : most_weight(integers.most_weight) {
      const auto n = static_cast<double>(s.kv_len);
      mean.assign(s.head_dim, 0.), value.assign(s.head_dim, 0.);
      std::vector<double> value_mean(s.head_dim, 0.);
      for (int64_t j = 0; j < s.kv_len; ++j)
        for (int64_t d = 0; d < s.head_dim; ++d) mean[d] += keys[j * s.head_dim + d] / n, value_mean[d] += values[j * s.head_dim + d] / n;
      // The float32 mean may be off by as much as its sums are; what is taken out of all keys alike costs only the larger step.
      const auto row = [&](const std::vector<double>& x, int64_t i, bool centered) {
        std::vector<double> magnitudes;
        for (int64_t d = 0; d < s.head_dim; ++d) {
          const double at = x[i * s.head_dim + d];
          magnitudes.push_back(std::abs(at - (centered ? mean[d] : 0)) + std::abs(at) * n * 0x1p-22);
        }
        return integers.row_step(magnitudes) * (1 + 2e-5);
      };
      for (int64_t i = 0; i < s.q_len; ++i) query.push_back(row(queries, i, false));
      for (int64_t j = 0; j < s.kv_len; ++j) key.push_back(row(keys, j, true));
      for (int64_t first = 0; first < s.kv_len; first += Integers::kBlock)
        for (int64_t d = 0; d < s.head_dim; ++d) {
          std::vector<double> magnitudes;
          for (int64_t j = first; j < std::min(s.kv_len, first + Integers::kBlock); ++j)
            magnitudes.push_back(std::abs(values[j * s.head_dim + d] - value_mean[d]) * (1 + n * 0x1p-22));
          value[d] = std::max(value[d], integers.value_step(magnitudes) * (1 + 2e-5));
        }
    }
    // Of query i, column d, whose weights are score[j] / sum and whose result is x.
    double bound(const std::vector<double>& queries, const std::vector<double>& keys, const std::vector<double>& values, const AttentionShape& s,
                 int64_t i, int64_t d, const std::vector<double>& score, double sum, double x) {
      if (row != i) {
        row = i, most = 0;
        error.assign(s.kv_len, 0.);
        for (int64_t j = 0; j < s.kv_len; ++j) {
          double size = 0;
          for (int64_t e = 0; e < s.head_dim; ++e)
            size += (std::abs(queries[i * s.head_dim + e]) * key[j] + (std::abs(keys[j * s.head_dim + e] - mean[e]) + key[j] / 2) * query[i]) / 2;
          error[j] = size * std::abs(double(s.scale));
          most = std::max(most, error[j]);
        }
      }
      // A weight is between exp(-error) and exp(error) of what it should be, before and after the division by their sum; half a step of the
      // largest, which is off in the same way.
      double slack = 0, largest = 0;
      for (int64_t j = 0; j < s.kv_len; ++j) {
        const double deviation = std::abs(values[j * s.head_dim + d] - x);
        slack += (score[j] * (std::expm1(error[j]) + 2e-4) + std::exp(2 * most) / (2 * most_weight)) / sum * deviation;
        largest = std::max(largest, deviation);
      }
      if (most > 20) return largest + value[d] / 2;
      // No weights make more of it than the farthest value.
      return std::min(slack * std::exp(most) * (1 + static_cast<double>(s.kv_len) * std::exp(2 * most) / (2 * most_weight) / sum), largest) +
             value[d] / 2;
    }
    int64_t row = -1;
    double most = 0;
    std::vector<double> error;
  };

  // One head's rows as doubles.
  std::vector<double> rows(const Buffer& from, size_t at, int64_t stride, int64_t count) const {
    std::vector<double> to;
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t d = 0; d < shape.head_dim; ++d) to.push_back(from.get(at + t * stride + d));
    }
    return to;
  }

  void run(const AttentionBackend& backend) {
    const Attention attention(backend.kind, shape, isa(), num_threads());
    Workspace workspace(attention.workspace_bytes());
    attention.run(args, workspace.data);
  }

  const std::vector<double>& bound_of(const AttentionBackend& backend) const {
    return backend.name == "int8" ? int8_bound : backend.name == "int16" ? int16_bound : bound;
  }

  // Compares every element, and the gap after each row, which must be untouched.
  void check(const std::string& what, const AttentionBackend& backend) {
    const AttentionShape& s = shape;
    const std::vector<double>& bound = bound_of(backend);
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

// Such a backend in plain code that rounds where it rounds, of a case of one batch and one head.
inline std::vector<double> simulate(const Integers& integers, const Case& c) {
  const AttentionShape& s = c.shape;
  const int64_t n = s.kv_len, dim = s.head_dim;
  const std::vector<double> q = c.rows(c.q, c.q_at(0, 0, 0), c.args.q_strides.token, s.q_len),
                            k = c.rows(c.kv, c.k_at(0, 0, 0), c.args.k_strides.token, n),
                            v = c.rows(c.kv, c.v_at(0, 0, 0), c.args.v_strides.token, n);
  const auto mean = [&](const std::vector<double>& x, int64_t d) {
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += x[j * dim + d];
    return sum / static_cast<double>(n);
  };
  std::vector<double> k_mean, v_mean, result;
  for (int64_t d = 0; d < dim; ++d) k_mean.push_back(mean(k, d)), v_mean.push_back(mean(v, d));
  const auto round = [](std::vector<double> x, double step) {
    for (double& value : x) value = std::nearbyint(value / step);
    return x;
  };
  std::vector<std::vector<double>> keys, values(n, std::vector<double>(dim));
  std::vector<double> key_step;
  for (int64_t j = 0; j < n; ++j) {
    std::vector<double> row;
    for (int64_t d = 0; d < dim; ++d) row.push_back(k[j * dim + d] - k_mean[d]);
    key_step.push_back(integers.row_step(row));
    keys.push_back(round(row, key_step[j]));
  }
  for (int64_t first = 0; first < n; first += Integers::kBlock)
    for (int64_t d = 0; d < dim; ++d) {
      std::vector<double> column;
      for (int64_t j = first; j < std::min(n, first + Integers::kBlock); ++j) column.push_back(v[j * dim + d] - v_mean[d]);
      const double step = integers.value_step(column);
      for (size_t j = 0; j < column.size(); ++j) values[first + static_cast<int64_t>(j)][d] = std::nearbyint(column[j] / step) * step;
    }
  for (int64_t i = 0; i < s.q_len; ++i) {
    const std::vector<double> query(q.begin() + i * dim, q.begin() + (i + 1) * dim);
    const double query_step = integers.row_step(query);
    const std::vector<double> row = round(query, query_step);
    std::vector<double> sums(dim, 0.);
    double reference = -kInf, total = 0;
    for (int64_t first = 0; first < n; first += Integers::kBlock) {
      std::vector<double> score;
      for (int64_t j = first; j < std::min(n, first + Integers::kBlock); ++j) {
        double sum = 0;
        for (int64_t d = 0; d < dim; ++d) sum += row[d] * keys[j][d];
        score.push_back(sum * query_step * key_step[j] * static_cast<double>(s.scale));
      }
      const double largest = *std::max_element(score.begin(), score.end()), shrink = std::exp(reference - std::max(reference, largest));
      reference = std::max(reference, largest), total *= shrink;
      for (double& sum : sums) sum *= shrink;
      for (size_t j = 0; j < score.size(); ++j) {
        const double weight = std::nearbyint(integers.most_weight * std::exp(score[j] - largest)) * std::exp(largest - reference);
        total += weight;
        for (int64_t d = 0; d < dim; ++d) sums[d] += weight * values[first + static_cast<int64_t>(j)][d];
      }
    }
    for (int64_t d = 0; d < dim; ++d) result.push_back(sums[d] / total + v_mean[d]);
  }
  return result;
}

}  // namespace vivace::cpu
