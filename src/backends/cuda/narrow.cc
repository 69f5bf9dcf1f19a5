#include "backends/cuda/narrow.h"

#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "base/log.h"

namespace vivace::cuda {

std::string NarrowWeight::key() const {
  return cat("rows(", dtype_name(storage), products ? " products" : "", geglu ? " geglu" : "", hadamard ? cat(" hadamard ", hadamard) : "", ')');
}

void NarrowWeight::pack(Driver& driver, const void* source, const void* scales, void* to, Stream& stream) const {
  auto* const made = reinterpret_cast<float*>(static_cast<char*>(to) + scales_at());
  const int64_t rows = weight.shape[0], k = weight.shape[1];
  if (!stored) {
    launches(driver, make_quantize_weight({.in = source,
                                           .out = to,
                                           .scales = made,
                                           .rows = rows,
                                           .columns = static_cast<int>(k),
                                           .hadamard = hadamard,
                                           .pairs = products && storage == DType::int8,
                                           .geglu = geglu,
                                           .scales_follow = !products},
                                          weight.dtype, storage))
        ->run(stream);
    return;
  }
  // Rows of so many units, eight of each half in turn where they are a GEGLU's.
  const auto move = [&](const void* from, void* out, int64_t units, size_t bytes, bool in_turn) {
    const int64_t eight = 8 * units;
    StridedCopy copy{.in = from, .out = out, .sizes = {rows * units}, .in_strides = {1}, .out_strides = {1}, .bytes = bytes};
    if (in_turn) copy.sizes = {rows / 16, 2, eight}, copy.in_strides = {eight, rows / 2 * units, 1}, copy.out_strides = {2 * eight, eight, 1};
    return launches(driver, make_copy(copy));
  };
  move(source, to, k, 1, geglu)->run(stream);
  move(scales, made, 1, sizeof(float), geglu && !products)->run(stream);
}

Call<RowNormArguments> QuantizedRows::make(const void* from, void* to, BadValue bad) const {
  return make_row_norm({.x = from,
                        .y = to,
                        .scales = reinterpret_cast<float*>(static_cast<char*>(to) + scales_at()),
                        .bad_value = bad.first,
                        .rows = x.rows(),
                        .x_pitch = x.row_pitch(),
                        .y_pitch = pitch(),
                        .tokens = x.rows(),
                        .columns = static_cast<int>(x.columns()),
                        .heads = 1,
                        .function = kCopyRow,
                        .step = bad.step,
                        .hadamard = hadamard},
                       x.dtype, DType::float32, dtype);
}

}  // namespace vivace::cuda
