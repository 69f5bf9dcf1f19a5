#include <algorithm>
#include <cmath>

#include "backends/ref/kernels.h"
#include "ops/positions.h"
#include "tensor/block_format.h"

namespace vivace::ref {

void transpose(const Bound& k) {
  const auto& perm = k.attrs.integers("perm");
  std::vector<int64_t> source(perm.size());
  each_index(k.out_shape(), [&, i = int64_t{0}](const auto& at) mutable {
    for (size_t d = 0; d < perm.size(); ++d) source[static_cast<size_t>(perm[d])] = at[d];
    k.out(i++, k.in(0, position(k.shape(0), source)));
  });
}

void copy(const Bound& k) {
  for (int64_t i = 0; i < numel(k.out_shape()); ++i) k.out(i, k.in(0, i));
}

void slice(const Bound& k) {
  const Shape& x = k.shape(0);
  const int64_t rank = static_cast<int64_t>(x.size()), axis = (k.attrs.integer("axis") + rank) % rank;
  const int64_t begin = k.attrs.integer("begin"), size = x[static_cast<size_t>(axis)];
  const int64_t start = k.attrs.integer("back") ? size - k.out_shape()[static_cast<size_t>(axis)] : begin < 0 ? begin + size : begin;
  each_index(k.out_shape(), [&, i = int64_t{0}](std::vector<int64_t> at) mutable {
    at[static_cast<size_t>(axis)] += start;
    k.out(i++, k.in(0, position(x, at)));
  });
}

void concat(const Bound& k) {
  const int64_t rank = static_cast<int64_t>(k.out_shape().size());
  const auto axis = static_cast<size_t>((k.attrs.integer("axis") + rank) % rank);
  each_index(k.out_shape(), [&, i = int64_t{0}](std::vector<int64_t> at) mutable {
    size_t part = 0;
    while (at[axis] >= k.shape(part)[axis]) at[axis] -= k.shape(part++)[axis];
    k.out(i++, k.in(part, position(k.shape(part), at)));
  });
}

void interleave(const Bound& k) {
  const int64_t block = k.attrs.integer("block", 1), row = numel(k.shape(0)) / std::max<int64_t>(1, k.shape(0)[0]);
  for (int64_t r = 0; r < k.out_shape()[0]; ++r) {
    const int64_t pair = r / (2 * block), within = r % (2 * block);
    for (int64_t c = 0; c < row; ++c) k.out(r * row + c, k.in(within / block, (pair * block + within % block) * row + c));
  }
}

void causal_mask(const Bound& k) {
  each_index(k.out_shape(), [&, i = int64_t{0}](const auto& at) mutable { k.out(i++, at[1] > at[0] ? -INFINITY : 0.0); });
}

void upsample_nearest(const Bound& k) {
  const Shape &x = k.shape(0), &y = k.out_shape();
  each_index(y, [&, i = int64_t{0}](std::vector<int64_t> at) mutable {
    for (size_t d : {y.size() - 3, y.size() - 2}) at[d] = at[d] * x[d] / y[d];
    k.out(i++, k.in(0, position(x, at)));
  });
}

void widen(const Bound& k) {
  const Shape& blocks = k.shape(0);
  const BlockFormat format = *find_block_format(k.attrs.text("format"));
  std::vector<float> values(static_cast<size_t>(numel(k.out_shape())));
  widen_blocks(format, {static_cast<const std::byte*>(k.buffers.in[0]), static_cast<size_t>(numel(blocks))}, values.data());
  for (size_t i = 0; i < values.size(); ++i) k.out(static_cast<int64_t>(i), values[i]);
}

void center_crop(const Bound& k) {
  const int64_t side = square_side(k.shape(0)[0]), height = k.shape(1)[1], width = k.shape(1)[2], channels = k.shape(0)[1];
  const int64_t top = side / 2 - height / 2, left = side / 2 - width / 2;
  each_index({height, width, channels},
             [&, i = int64_t{0}](const auto& at) mutable { k.out(i++, k.in(0, ((top + at[0]) * side + left + at[1]) * channels + at[2])); });
}

void embedding(const Bound& k) {
  const int64_t width = k.shape(1)[1], last = k.shape(1)[0] - 1;
  for (int64_t i = 0; i < numel(k.shape(0)); ++i) {
    const int64_t id = std::clamp<int64_t>(static_cast<int64_t>(k.in(0, i)), 0, last);
    for (int64_t c = 0; c < width; ++c) k.out(i * width + c, k.in(1, id * width + c));
  }
}

void gather_rows(const Bound& k) {
  const Shape& x = k.shape(0);
  for (int64_t n = 0; n < x[0]; ++n)
    for (int64_t c = 0; c < x[2]; ++c)
      k.out(n * x[2] + c, k.in(0, (n * x[1] + std::clamp<int64_t>(static_cast<int64_t>(k.in(1, n)), 0, x[1] - 1)) * x[2] + c));
}

void argmax(const Bound& k) {
  const Shape& x = k.shape(0);
  for (int64_t n = 0; n < x[0]; ++n) {
    int64_t best = 0;
    for (int64_t s = 1; s < x[1]; ++s)
      if (k.in(0, n * x[1] + s) > k.in(0, n * x[1] + best)) best = s;
    k.out(n, static_cast<double>(best));
  }
}

void first_equal(const Bound& k) {
  const Shape& x = k.shape(0);
  for (int64_t n = 0; n < x[0]; ++n) {
    int64_t s = 0;
    while (s < x[1] && k.in(0, n * x[1] + s) != static_cast<double>(k.attrs.integer("value"))) ++s;
    k.out(n, static_cast<double>(s < x[1] ? s : 0));
  }
}

void select_row(const Bound& k) {
  const int64_t row = numel(k.out_shape()), index = std::clamp<int64_t>(static_cast<int64_t>(k.in(1, 0)), 0, k.shape(0)[0] - 1);
  for (int64_t i = 0; i < row; ++i) k.out(i, k.in(0, index * row + i));
}

void expand_rows(const Bound& k) {
  const int64_t given = numel(k.shape(0));
  for (int64_t i = 0; i < numel(k.out_shape()); ++i) k.out(i, k.in(0, i % given));
}

void fill(const Bound& k) {
  for (int64_t i = 0; i < numel(k.out_shape()); ++i) k.out(i, k.attrs.real("value"));
}

}  // namespace vivace::ref
