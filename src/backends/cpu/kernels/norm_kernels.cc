#include "backends/cpu/kernels/norm_isa.h"
#include "backends/cpu/kernels/norm_rows.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Sums of (x - k) and (x - k)^2 a channel, k a first guess of the channel's mean, so that nothing cancels where the mean is large against
// the deviation. Floats take kFlush rows at most and then go into doubles: the error does not grow with the size of the image.
struct ChannelSums {
  static constexpr int64_t kFlush = 64;
  alignas(64) float guess[kChannelTile], sum[kChannelTile], squares[kChannelTile];
  double total[kChannelTile], total_squares[kChannelTile];

  void flush(int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
      total[c] += sum[c];
      total_squares[c] += squares[c];
      sum[c] = squares[c] = 0.f;
    }
  }
};

// kRows rows at once, so that a channel's sums are read and written once for all of them.
template <class X, int kRows>
inline void add_rows(ChannelSums& sums, const typename X::T* x, int64_t stride, int64_t channels) {
  each_vector(channels, [&](int64_t c, auto lanes) {
    const VF k = load_f32(sums.guess + c);
    VF s = load_f32(sums.sum + c), q = load_f32(sums.squares + c);
    for (int r = 0; r < kRows; ++r) {
      const VF d = X::load(x + r * stride + c, lanes) - k;
      s = s + d;
      q = fma(d, d, q);
    }
    store_f32(s, sums.sum + c);
    store_f32(q, sums.squares + c);
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
  const VF share = splat(1.f / static_cast<float>(samples));
  each_vector(channels, [&](int64_t c, auto lanes) {
    VF s = splat(0.f);
    for (int64_t r = 0; r < samples; ++r) s = s + X::load(x + r * stride + c, lanes);
    store_f32(s * share, sums.guess + c);
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
      const VF v = fma(X::load(x + c, lanes), Float32::load(scale + c, lanes), Float32::load(shift + c, lanes));
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

// Channels [c, c + n) of row r, the residual added, as floats in `buffer` or where they are.
const float* row_values(const RowNorm& norm, int64_t r, int64_t c, int64_t n, float* buffer) {
  if (norm.residual.data == nullptr) return as_floats(row_of(norm.x, r, c), norm.x.dtype, buffer, n);
  load_span(row_of(norm.x, r, c), norm.x.dtype, buffer, n);
  with_type(norm.residual.dtype, [&](auto type) {
    using R = decltype(type);
    const auto* residual = static_cast<const typename R::T*>(row_of(norm.residual, r, c));
    each_vector(n, [&](int64_t i, auto lanes) { Float32::store(Float32::load(buffer + i, lanes) + R::load(residual + i, lanes), buffer + i, lanes); });
  });
  return buffer;
}

// y = (v - mean) * factor * gamma + beta.
void normalize_span(const float* v, int64_t n, float mean, float factor, const float* gamma, const float* beta, float* y) {
  const VF m = splat(mean), f = splat(factor);
  const auto run = [&](const auto& g, const auto& b) {
    each_vector(n, [&](int64_t i, auto lanes) { Float32::store(fma((Float32::load(v + i, lanes) - m) * f, g(i, lanes), b(i, lanes)), y + i, lanes); });
  };
  const auto ones = [](int64_t, auto) { return splat(1.f); };
  const auto zeros = [](int64_t, auto) { return splat(0.f); };
  const auto gammas = [&](int64_t i, auto lanes) { return Float32::load(gamma + i, lanes); };
  const auto betas = [&](int64_t i, auto lanes) { return Float32::load(beta + i, lanes); };
  if (gamma != nullptr && beta != nullptr) {
    run(gammas, betas);
  } else if (gamma != nullptr) {
    run(gammas, zeros);
  } else if (beta != nullptr) {
    run(ones, betas);
  } else {
    run(ones, zeros);
  }
}

int64_t row_norm(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer], normalized[kRowBuffer];
  int64_t bad = kNoBadRow;
  const bool whole = norm.channels <= kRowBuffer;
  // y or sum may be the memory of x or of the residual. So the sum is written after everything that reads a row, unless the row is read again
  // in pieces and each piece once: then just before y covers the piece.
  const bool sum_early = !whole && !is_quantized(y);
  const auto write_sum = [&](int64_t r, int64_t c, const float* values, int64_t n) {
    if (norm.sum.data != nullptr) store_span(values, row_of(norm.sum, r, c), norm.sum.dtype, n);
  };
  for (int64_t r = begin; r < end; ++r) {
    const float* values = nullptr;
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < norm.channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, norm.channels - c);
      values = row_values(norm, r, c, n, buffer);
      if (!rms) sum += sum_span(n, [&](int64_t i, auto lanes) { return Float32::load(values + i, lanes); });
    }
    const float mean = static_cast<float>(sum / static_cast<double>(norm.channels));
    for (int64_t c = 0; c < norm.channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, norm.channels - c);
      if (!whole) values = row_values(norm, r, c, n, buffer);
      squares += sum_span(n, [&](int64_t i, auto lanes) {
        const VF d = zero_unused(Float32::load(values + i, lanes) - splat(mean), lanes);
        return d * d;
      });
    }
    const auto factor = static_cast<float>(1.0 / __builtin_sqrt(squares / static_cast<double>(norm.channels) + norm.eps));
    const auto piece = [&](int64_t c, int64_t n) {
      if (!whole) values = row_values(norm, r, c, n, buffer);
      if (sum_early) write_sum(r, c, values, n);
      normalize_span(values, n, mean, factor, norm.gamma ? norm.gamma + c : nullptr, norm.beta ? norm.beta + c : nullptr, normalized);
      return static_cast<const float*>(normalized);
    };
    const bool row_bad = finish_row(y, r, norm.channels, piece);
    for (int64_t c = 0; c < norm.channels && !sum_early; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, norm.channels - c);
      if (!whole) values = row_values(norm, r, c, n, buffer);
      write_sum(r, c, values, n);
    }
    if (row_bad && bad == kNoBadRow) bad = r;
  }
  return bad;
}

}  // namespace

const NormKernels kNormKernels = {channel_moments, scale_shift, row_norm};

}  // namespace vivace::cpu::VIVACE_SIMD
