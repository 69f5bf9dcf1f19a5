#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/rows.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Sums of (x - k) and (x - k)^2 a channel, k a first guess of the channel's mean, so that nothing cancels where the mean is large against
// the deviation. Floats take kFlush rows at most and then go into doubles: the error does not grow with the size of the image.
struct ChannelSums {
  static constexpr int64_t kFlush = 64;
  alignas(64) float guess[kChannelTile], sum[kChannelTile], squares[kChannelTile];
  alignas(64) double total[kChannelTile], total_squares[kChannelTile];

  void flush(int64_t channels) {
    for (int64_t c = 0; c < channels; c += kLanes) {
      add_to_doubles(LoadU(sum + c), total + c);
      add_to_doubles(LoadU(squares + c), total_squares + c);
      StoreU(Zero(), sum + c);
      StoreU(Zero(), squares + c);
    }
  }
};

// kRows rows at once, so that a channel's sums are read and written once for all of them.
template <class X, int kRows>
inline void add_rows(ChannelSums& sums, const typename X::T* x, int64_t stride, int64_t channels) {
  each_vector(channels, [&](int64_t c, auto lanes) {
    const VF k = LoadU(sums.guess + c);
    VF s = LoadU(sums.sum + c), q = LoadU(sums.squares + c);
    for (int r = 0; r < kRows; ++r) {
      const VF d = X::load(x + r * stride + c, lanes) - k;
      s = s + d;
      q = MulAdd(d, d, q);
    }
    StoreU(s, sums.sum + c);
    StoreU(q, sums.squares + c);
  });
}

template <class X>
void channel_moments_of(const typename X::T* x, int64_t stride, int64_t rows, int64_t channels, double* mean, double* m2) {
  constexpr int kStep = 8;
  ChannelSums sums;
  const int64_t padded = (channels + kLanes - 1) / kLanes * kLanes, samples = min64(rows, kStep);
  const auto bytes = static_cast<size_t>(padded);
  memset(sums.guess, 0, bytes * sizeof(float));
  memset(sums.sum, 0, bytes * sizeof(float));
  memset(sums.squares, 0, bytes * sizeof(float));
  memset(sums.total, 0, bytes * sizeof(double));
  memset(sums.total_squares, 0, bytes * sizeof(double));
  const VF share = Set(1.f / static_cast<float>(samples));
  each_vector(channels, [&](int64_t c, auto lanes) {
    VF s = Zero();
    for (int64_t r = 0; r < samples; ++r) s = s + X::load(x + r * stride + c, lanes);
    StoreU(s * share, sums.guess + c);
  });
  int64_t r = 0;
  for (; r + kStep <= rows; r += kStep) {
    add_rows<X, kStep>(sums, x + r * stride, stride, channels);
    if ((r + kStep) % ChannelSums::kFlush == 0) sums.flush(channels);
  }
  for (; r < rows; ++r) add_rows<X, 1>(sums, x + r * stride, stride, channels);
  sums.flush(channels);
  const double part = 1.0 / static_cast<double>(rows);
  for (int64_t c = 0; c < channels; ++c) {
    const double offset = sums.total[c] * part, left = sums.total_squares[c] - sums.total[c] * offset;
    mean[c] = sums.guess[c] + offset;
    m2[c] = left < 0 ? 0 : left;  // a NaN passes
  }
}

void channel_moments(const RowInput& x, int64_t rows, int64_t channels, double* mean, double* m2) {
  with_type(x.dtype, [&](auto type) {
    using X = decltype(type);
    channel_moments_of<X>(static_cast<const typename X::T*>(x.data), x.stride, rows, channels, mean, m2);
  });
}

template <class X, class Y, bool silu>
void scale_shift_of(const typename X::T* x, int64_t x_stride, int64_t rows, int64_t channels, const float* scale, const float* shift,
                    typename Y::T* y, int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r, x += x_stride, y += y_stride) {
    each_vector(channels, [&](int64_t c, auto lanes) {
      const VF v = MulAdd(X::load(x + c, lanes), Float32::load(scale + c, lanes), Float32::load(shift + c, lanes));
      Y::store(silu ? vsilu(v) : v, y + c, lanes);
    });
  }
}

void scale_shift(const RowInput& x, int64_t rows, int64_t channels, const float* scale, const float* shift, Act act, const RowOutput& y) {
  with_type(x.dtype, [&](auto x_type) {
    using X = decltype(x_type);
    with_type(y.dtype, [&](auto y_type) {
      using Y = decltype(y_type);
      auto* run = act == Act::silu ? &scale_shift_of<X, Y, true> : &scale_shift_of<X, Y, false>;
      run(static_cast<const typename X::T*>(x.data), x.stride, rows, channels, scale, shift, static_cast<typename Y::T*>(y.data), y.stride);
    });
  });
}

void modulate(const ModulatedMap& map, int64_t channels, float* scale, float* shift) {
  alignas(64) float z[kSpatialInputs];
  load_span(map.z, map.dtype, z, map.inputs);
  each_vector(channels, [&](int64_t c, auto lanes) {
    VF s = Float32::load(map.scale_bias + c, lanes), t = Float32::load(map.shift_bias + c, lanes);
    for (int64_t i = 0; i < map.inputs; ++i) {
      const VF factor = Set(z[i]);
      s = MulAdd(factor, Float32::load(map.scale + i * map.stride + c, lanes), s);
      t = MulAdd(factor, Float32::load(map.shift + i * map.stride + c, lanes), t);
    }
    Float32::store(Float32::load(map.norm_scale + c, lanes) * s, scale + c, lanes);
    Float32::store(MulAdd(Float32::load(map.norm_shift + c, lanes), s, t), shift + c, lanes);
  });
}

// Channels [c, c + n) of row r into the buffer; returns their sum.
float load_row(const RowNorm& norm, int64_t r, int64_t c, int64_t n, float* buffer) {
  float sum = 0;
  with_type(norm.x.dtype, [&](auto type) {
    using X = decltype(type);
    const auto* x = static_cast<const typename X::T*>(row_of(norm.x, r, c));
    sum = sum_span(n, [&](int64_t i, auto lanes) {
      const VF v = X::load(x + i, lanes);
      Float32::store(v, buffer + i, lanes);
      return v;
    });
  });
  return sum;
}

// n floats turned by a row of the table, n even.
inline void rotate_span(const float* v, const float* table, int64_t n, float* y) {
  each_vector(n, [&](int64_t i, auto lanes) {
    const VF x = Float32::load(v + i, lanes), turn = Float32::load(table + i, lanes);
    // (x0 cos - x1 sin, x1 cos + x0 sin)
    Float32::store(MulAddSub(x, DupEven(turn), Reverse2(x) * DupOdd(turn)), y + i, lanes);
  });
}

void rotate(const RowInput& x, int64_t channels, const Rotation& rotation, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer];
  for (int64_t r = begin; r < end; ++r) {
    const float* table = rotation.table + r % rotation.tokens * channels;
    for (int64_t c = 0; c < channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, channels - c);
      load_span(row_of(x, r, c), x.dtype, buffer, n);
      rotate_span(buffer, table + c, n, buffer);
      store_span(buffer, row_of(y, r, c), y.dtype, n);
    }
  }
}

// y = (v - mean) * factor * gamma + beta.
template <class Y>
inline void normalize_span(const float* v, int64_t n, float mean, float factor, const float* gamma, const float* beta, typename Y::T* y) {
  const VF m = Set(mean), f = Set(factor);
  const auto run = [&](const auto& finish) {
    each_vector(n, [&](int64_t i, auto lanes) { Y::store(finish((Float32::load(v + i, lanes) - m) * f, i, lanes), y + i, lanes); });
  };
  if (gamma != nullptr && beta != nullptr) {
    run([&](VF x, int64_t i, auto lanes) { return MulAdd(x, Float32::load(gamma + i, lanes), Float32::load(beta + i, lanes)); });
  } else if (gamma != nullptr) {
    run([&](VF x, int64_t i, auto lanes) { return x * Float32::load(gamma + i, lanes); });
  } else if (beta != nullptr) {
    run([&](VF x, int64_t i, auto lanes) { return x + Float32::load(beta + i, lanes); });
  } else {
    run([](VF x, int64_t, auto) { return x; });
  }
}

int64_t row_norm(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer], normalized[kRowBuffer];
  const int64_t channels = norm.channels;
  const bool whole = channels <= kRowBuffer;
  const auto reload = [&](int64_t r, int64_t c, int64_t n) {
    if (!whole) load_row(norm, r, c, n, buffer);
  };
  const double share = 1.0 / static_cast<double>(channels);
  int64_t bad = kNoBadRow;
  for (int64_t r = begin; r < end; ++r) {
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < channels; c += kRowBuffer) sum += load_row(norm, r, c, min64(kRowBuffer, channels - c), buffer);
    const float mean = rms ? 0.f : static_cast<float>(sum * share);
    for (int64_t c = 0; c < channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, channels - c);
      reload(r, c, n);
      squares += sum_span(n, [&](int64_t i, auto lanes) {
        const VF d = zero_unused(Float32::load(buffer + i, lanes) - Set(mean), lanes);
        return d * d;
      });
    }
    const float factor = 1.f / __builtin_sqrtf(static_cast<float>(squares * share) + norm.eps);
    const auto from = [&](const float* p, int64_t c) { return p != nullptr ? p + c : nullptr; };
    if (is_quantized(y)) {
      const bool row_bad = quantize_row(y, r, channels, [&](int64_t c, int64_t n) {
        reload(r, c, n);
        normalize_span<Float32>(buffer, n, mean, factor, from(norm.gamma, c), from(norm.beta, c), normalized);
        return static_cast<const float*>(normalized);
      });
      if (row_bad && bad == kNoBadRow) bad = r;
    } else {
      for (int64_t c = 0; c < channels; c += kRowBuffer) {
        const int64_t n = min64(kRowBuffer, channels - c);
        reload(r, c, n);
        with_type(y.dtype, [&](auto type) {
          using Y = decltype(type);
          auto* out = static_cast<typename Y::T*>(row_of(y, r, c));
          normalize_span<Y>(buffer, n, mean, factor, from(norm.gamma, c), from(norm.beta, c), out);
        });
      }
    }
  }
  return bad;
}

// The heads of a row: so short that what surrounds their arithmetic counts. Types are told apart once for all rows, and a head is read and written
// once, with the weights and its place in the table still in the first cache from the head before.
template <class X, class Y, bool rms>
void head_norm_of(const RowNorm& norm, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kLongestHead];
  const int64_t channels = norm.channels;
  const float share = 1.f / static_cast<float>(channels);
  const float *const gamma = norm.gamma, *const beta = norm.beta;
  for (int64_t r = begin; r < end; ++r) {
    const auto* x = static_cast<const typename X::T*>(row_of(norm.x, r));
    auto* out = static_cast<typename Y::T*>(row_of(y, r));
    const float* const table = norm.rotation.table != nullptr ? norm.rotation.table + r % norm.rotation.tokens * channels : nullptr;
    for (int64_t head = 0; head < norm.heads; ++head, x += channels, out += channels) {
      const auto load = [&](int64_t i, auto lanes) {
        const VF v = X::load(x + i, lanes);
        Float32::store(v, buffer + i, lanes);
        return v;
      };
      float mean = 0, squares = 0;
      if constexpr (rms) {
        squares = sum_span(channels, [&](int64_t i, auto lanes) {
          const VF v = load(i, lanes);
          return v * v;
        });
      } else {
        mean = sum_span(channels, load) * share;
        squares = sum_span(channels, [&](int64_t i, auto lanes) {
          const VF d = zero_unused(Float32::load(buffer + i, lanes) - Set(mean), lanes);
          return d * d;
        });
      }
      const VF m = Set(mean), factor = Set(1.f / __builtin_sqrtf(squares * share + norm.eps));
      each_vector(channels, [&](int64_t i, auto lanes) {
        const VF v = Float32::load(buffer + i, lanes);
        VF result = (rms ? v : v - m) * factor;
        if (gamma != nullptr) result = result * Float32::load(gamma + i, lanes);
        if (beta != nullptr) result = result + Float32::load(beta + i, lanes);
        if (table != nullptr) {
          const VF turn = Float32::load(table + i, lanes);
          result = MulAddSub(result, DupEven(turn), Reverse2(result) * DupOdd(turn));
        }
        Y::store(result, out + i, lanes);
      });
    }
  }
}

void head_norm(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end) {
  with_type(norm.x.dtype, [&](auto x_type) {
    with_type(y.dtype, [&](auto y_type) {
      using X = decltype(x_type);
      using Y = decltype(y_type);
      auto* run = rms ? &head_norm_of<X, Y, true> : &head_norm_of<X, Y, false>;
      run(norm, y, begin, end);
    });
  });
}

}  // namespace

const NormKernels kNormKernels = {channel_moments, scale_shift, modulate, row_norm, head_norm, rotate};

}  // namespace vivace::cpu::VIVACE_SIMD
