#include "backends/cpu/kernels/elementwise/elementwise.h"

#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/elementwise/isa.h"
#include "backends/cpu/kernels/norm/split.h"

namespace vivace::cpu {

int64_t nearest_index(int64_t i, int64_t in, int64_t out) noexcept {
  // PyTorch multiplies by a float32 ratio, which is not floor(i * in / out) for every size.
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  return std::min(static_cast<int64_t>(std::floor(static_cast<float>(i) * scale)), in - 1);
}

void upsample_nearest(const Upsample& up, const RowOutput& y, Stop stop) noexcept {
  const auto width = static_cast<int64_t>(dtype_size(up.x.dtype));
  const auto bytes = static_cast<size_t>(up.channels * width);
  const int64_t x_pixel = up.x.stride * width, y_pixel = y.stride * width;
  share_rows(up.images * up.out_height, up.out_width * up.channels, stop, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / up.out_height;
      const int64_t source_line = image * up.height + nearest_index(line % up.out_height, up.height, up.out_height);
      const auto* source = static_cast<const char*>(up.x.data) + source_line * up.width * x_pixel;
      auto* target = static_cast<char*>(y.data) + line * up.out_width * y_pixel;
      for (int64_t column = 0; column < up.out_width; ++column)
        std::memcpy(target + column * y_pixel, source + nearest_index(column, up.width, up.out_width) * x_pixel, bytes);
    }
  });
}

void transpose(const RowInput& x, int64_t batch, int64_t rows, int64_t columns, const RowOutput& y) noexcept {
  const auto x_width = static_cast<int64_t>(dtype_size(x.dtype)), y_width = static_cast<int64_t>(dtype_size(y.dtype));
  const auto& run = elementwise_kernels().transpose;
  // Threads share the longer side of each matrix.
  const int64_t length = std::max(rows, columns);
  for (int64_t b = 0; b < batch; ++b) {
    const auto* source = static_cast<const char*>(x.data) + b * rows * x.stride * x_width;
    auto* target = static_cast<char*>(y.data) + b * columns * y.stride * y_width;
    parallel_for(length, grain_rows(std::min(rows, columns)), [&](int64_t begin, int64_t end) {
      if (rows >= columns) {
        run({source + begin * x.stride * x_width, x.dtype, x.stride}, end - begin, columns, {target + begin * y_width, y.dtype, y.stride});
      } else {
        run({source + begin * x_width, x.dtype, x.stride}, rows, end - begin, {target + begin * y.stride * y_width, y.dtype, y.stride});
      }
    });
  }
}

void embedding_rows(const RowInput& table, int64_t channels, const void* ids, DType ids_dtype, int64_t count, const RowOutput& y) noexcept {
  const auto x_width = static_cast<int64_t>(dtype_size(table.dtype)), y_width = static_cast<int64_t>(dtype_size(y.dtype));
  const auto& convert = elementwise_kernels().convert;
  parallel_for(count, grain_rows(channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t id = ids_dtype == DType::int64 ? static_cast<const int64_t*>(ids)[i] : static_cast<const int32_t*>(ids)[i];
      convert(static_cast<const char*>(table.data) + id * table.stride * x_width, table.dtype, static_cast<char*>(y.data) + i * y.stride * y_width,
              y.dtype, channels);
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
