#include "backends/cpu/kernels/elementwise/elementwise.h"

#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/elementwise/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {

void copy_rows(const RowInput& x, int64_t rows, int64_t channels, const RowOutput& y) noexcept {
  if (x.stride == channels && y.stride == channels) return cast(x.data, x.dtype, y.data, y.dtype, rows * channels);
  const auto& convert = elementwise_kernels().convert;
  const auto x_width = static_cast<int64_t>(dtype_size(x.dtype)), y_width = static_cast<int64_t>(dtype_size(y.dtype));
  parallel_for(rows, grain_rows(channels), [&](int64_t begin, int64_t end) {
    const auto* source = static_cast<const char*>(x.data) + begin * x.stride * x_width;
    auto* target = static_cast<char*>(y.data) + begin * y.stride * y_width;
    for (int64_t r = begin; r < end; ++r, source += x.stride * x_width, target += y.stride * y_width) {
      if (x.dtype == y.dtype) {
        std::memcpy(target, source, static_cast<size_t>(channels * x_width));
      } else {
        convert(source, x.dtype, target, y.dtype, channels);
      }
    }
  });
}

void cast(const void* x, DType x_dtype, void* y, DType y_dtype, int64_t count) noexcept {
  const auto x_width = static_cast<int64_t>(dtype_size(x_dtype)), y_width = static_cast<int64_t>(dtype_size(y_dtype));
  const auto& convert = elementwise_kernels().convert;
  parallel_for(count, kElementGrain, [&](int64_t begin, int64_t end) {
    const auto* source = static_cast<const char*>(x) + begin * x_width;
    auto* target = static_cast<char*>(y) + begin * y_width;
    if (x_dtype == y_dtype) {
      std::memcpy(target, source, static_cast<size_t>((end - begin) * x_width));
    } else {
      convert(source, x_dtype, target, y_dtype, end - begin);
    }
  });
}

void timestep_embedding(const TimestepEmbedding& embedding, const float* timesteps, int64_t count, float* y) noexcept {
  const int64_t half = embedding.channels / 2;
  const auto log_period = static_cast<float>(-std::log(static_cast<double>(embedding.max_period)));
  const auto divisor = static_cast<float>(static_cast<double>(half) - embedding.downscale_freq_shift);
  for (int64_t i = 0; i < half; ++i) {
    // Each step rounded to float32 as PyTorch rounds it: at t = 999 one unit in the frequency's last place is 6e-5 of a radian.
    const float exponent = log_period * static_cast<float>(i) / divisor;
    const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
    for (int64_t r = 0; r < count; ++r) {
      const float angle = embedding.scale * (timesteps[r] * frequency);
      float* row = y + r * embedding.channels;
      row[embedding.flip_sin_to_cos ? half + i : i] = std::sin(angle);
      row[embedding.flip_sin_to_cos ? i : half + i] = std::cos(angle);
    }
  }
  if (embedding.channels % 2 == 1)
    for (int64_t r = 0; r < count; ++r) y[r * embedding.channels + 2 * half] = 0.f;
}

}  // namespace vivace::cpu
