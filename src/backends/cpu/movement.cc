// Moving data: reshape, slice, concat, upsampling, look-ups; and the small index ops of the text encoders.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/entries.h"
#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/norm/split.h"
#include "base/log.h"
#include "base/parallel.h"
#include "ops/positions.h"
#include "tensor/block_format.h"

namespace vivace::cpu {
namespace {

size_t axis_of(const KernelCall& call, const Shape& shape) {
  const auto rank = static_cast<int64_t>(shape.size());
  return static_cast<size_t>((call.attrs->integer("axis") + rank) % rank);
}
int64_t outer(const Shape& s, size_t axis) { return numel(Shape(s.begin(), s.begin() + static_cast<long>(axis))); }
int64_t inner(const Shape& s, size_t axis) { return numel(Shape(s.begin() + static_cast<long>(axis), s.end())); }

// Rows of bytes: what slice, concat and reshape come down to for any dtype.
struct ByteCopy {
  const char* from;
  char* to;
  size_t rows, bytes, from_stride, to_stride;
  void run(Stop stop) const noexcept {
    if (bytes > kPiece) return run_in_pieces(stop);
    share_rows(static_cast<int64_t>(rows), static_cast<int64_t>(bytes / 4), stop, [this](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) std::memcpy(to + static_cast<size_t>(r) * to_stride, from + static_cast<size_t>(r) * from_stride, bytes);
    });
  }

 private:
  // Along the first axis there is one row, of a whole weight or sequence.
  static constexpr size_t kPiece = size_t{1} << 18;
  void run_in_pieces(Stop stop) const noexcept {
    const size_t pieces = (bytes + kPiece - 1) / kPiece;
    share_rows(static_cast<int64_t>(rows * pieces), static_cast<int64_t>(kPiece / 4), stop, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        const size_t at = i % pieces * kPiece;
        std::memcpy(to + i / pieces * to_stride + at, from + i / pieces * from_stride + at, std::min(kPiece, bytes - at));
      }
    });
  }
};

std::unique_ptr<BoundKernel> bind_reshape(const KernelCall& call, const Buffers& buffers) {
  const size_t size = dtype_size(call.out.dtype), bytes = static_cast<size_t>(call.in[0]->columns()) * size;
  return bound([copy = ByteCopy{static_cast<const char*>(buffers.in[0]), static_cast<char*>(buffers.out), static_cast<size_t>(call.in[0]->rows()),
                                bytes, static_cast<size_t>(call.in[0]->row_pitch()) * size, bytes}](Stream& stream) { copy.run(&stream.stop); });
}

std::unique_ptr<BoundKernel> bind_slice(const KernelCall& call, const Buffers& buffers) {
  const Shape& x = call.in[0]->shape;
  const size_t axis = axis_of(call, x), size = dtype_size(call.out.dtype);
  int64_t begin = call.attrs->integer("begin");
  if (begin < 0) begin += x[axis];
  if (call.attrs->integer("back")) begin = x[axis] - call.out.shape[axis];
  const auto width = static_cast<size_t>(inner(x, axis + 1)) * size;
  const ByteCopy copy{static_cast<const char*>(buffers.in[0]) + static_cast<size_t>(begin) * width,
                      static_cast<char*>(buffers.out),
                      static_cast<size_t>(outer(x, axis)),
                      static_cast<size_t>(call.out.shape[axis]) * width,
                      static_cast<size_t>(x[axis]) * width,
                      static_cast<size_t>(call.out.shape[axis]) * width};
  return bound([copy](Stream& stream) { copy.run(&stream.stop); });
}

std::unique_ptr<BoundKernel> bind_concat(const KernelCall& call, const Buffers& buffers) {
  const Shape& y = call.out.shape;
  const size_t axis = axis_of(call, y), size = dtype_size(call.out.dtype);
  const auto width = static_cast<size_t>(inner(y, axis + 1)) * size;
  std::vector<ByteCopy> copies;
  size_t at = 0;
  for (size_t i = 0; i < call.in.size(); ++i) {
    const auto bytes = static_cast<size_t>(call.in[i]->shape[axis]) * width;
    // A part that its producer has written in its place needs no copy (join_concats).
    if (buffers.in[i] != static_cast<char*>(buffers.out) + at)
      copies.push_back({static_cast<const char*>(buffers.in[i]), static_cast<char*>(buffers.out) + at, static_cast<size_t>(outer(y, axis)), bytes,
                        bytes, static_cast<size_t>(y[axis]) * width});
    at += bytes;
  }
  return bound([copies](Stream& stream) {
    for (const ByteCopy& c : copies) c.run(&stream.stop);
  });
}

std::unique_ptr<BoundKernel> bind_transpose(const KernelCall& call, const Buffers& buffers) {
  const Shape& shape = call.in[0]->shape;
  return bound([x = row_input(*call.in[0], buffers.in[0]), rows = shape[0], columns = shape[1], y = row_output(call.out, buffers.out)] {
    transpose(x, 1, rows, columns, y);
  });
}
Refusal refuse_transpose(const KernelCall& call) {
  if (call.attrs->integers("perm") != std::vector<int64_t>{1, 0}) return "only a matrix is transposed";
  return refuse_unless_activations(call, {0});
}

std::unique_ptr<BoundKernel> bind_upsample(const KernelCall& call, const Buffers& buffers) {
  const Shape &x = call.in[0]->shape, &y = call.out.shape;
  const Upsample u{.x = row_input(*call.in[0], buffers.in[0]),
                   .images = numel({x.begin(), x.end() - 3}),
                   .height = x.end()[-3],
                   .width = x.end()[-2],
                   .channels = x.back(),
                   .out_height = y.end()[-3],
                   .out_width = y.end()[-2]};
  return bound([u, out = row_output(call.out, buffers.out)](Stream& stream) { upsample_nearest(u, out, &stream.stop); });
}

std::unique_ptr<BoundKernel> bind_embedding(const KernelCall& call, const Buffers& buffers) {
  // Ids outside the table would read outside it, as any index would; they are clamped into a copy that is part of the workspace.
  return bound([table = row_input(*call.in[1], buffers.in[1]), channels = call.in[1]->columns(), last = static_cast<int32_t>(call.in[1]->rows() - 1),
                ids = static_cast<const int32_t*>(buffers.in[0]), safe = static_cast<int32_t*>(buffers.workspace), count = numel(call.in[0]->shape),
                out = row_output(call.out, buffers.out)] {
    for (int64_t i = 0; i < count; ++i) safe[i] = std::clamp(ids[i], 0, last);
    embedding_rows(table, channels, safe, DType::int32, count, out);
  });
}

std::unique_ptr<BoundKernel> bind_gather_rows(const KernelCall& call, const Buffers& buffers) {
  const Shape& x = call.in[0]->shape;
  const size_t row = static_cast<size_t>(x[2]) * dtype_size(call.out.dtype);
  return bound([=, from = static_cast<const char*>(buffers.in[0]), index = static_cast<const int32_t*>(buffers.in[1]),
                to = static_cast<char*>(buffers.out), images = x[0], tokens = x[1]] {
    for (int64_t n = 0; n < images; ++n)
      std::memcpy(to + static_cast<size_t>(n) * row, from + static_cast<size_t>(n * tokens + std::clamp<int64_t>(index[n], 0, tokens - 1)) * row,
                  row);
  });
}

std::unique_ptr<BoundKernel> bind_argmax(const KernelCall& call, const Buffers& buffers) {
  return bound([x = static_cast<const int32_t*>(buffers.in[0]), y = static_cast<int32_t*>(buffers.out), images = call.in[0]->shape[0],
                n = call.in[0]->shape[1]] {
    for (int64_t i = 0; i < images; ++i) y[i] = static_cast<int32_t>(std::max_element(x + i * n, x + (i + 1) * n) - (x + i * n));
  });
}

std::unique_ptr<BoundKernel> bind_first_equal(const KernelCall& call, const Buffers& buffers) {
  return bound([x = static_cast<const int32_t*>(buffers.in[0]), y = static_cast<int32_t*>(buffers.out), images = call.in[0]->shape[0],
                n = call.in[0]->shape[1], value = static_cast<int32_t>(call.attrs->integer("value"))] {
    for (int64_t i = 0; i < images; ++i) {
      const int32_t* row = x + i * n;
      const int32_t* found = std::find(row, row + n, value);
      y[i] = found == row + n ? 0 : static_cast<int32_t>(found - row);
    }
  });
}

std::unique_ptr<BoundKernel> bind_select_row(const KernelCall& call, const Buffers& buffers) {
  const size_t bytes = static_cast<size_t>(numel(call.out.shape)) * dtype_size(call.out.dtype);
  return bound([bytes, table = static_cast<const char*>(buffers.in[0]), rows = call.in[0]->shape[0],
                index = static_cast<const int32_t*>(buffers.in[1]),
                out = buffers.out] { std::memcpy(out, table + static_cast<size_t>(std::clamp<int64_t>(*index, 0, rows - 1)) * bytes, bytes); });
}

std::unique_ptr<BoundKernel> bind_expand_rows(const KernelCall& call, const Buffers& buffers) {
  const size_t bytes = static_cast<size_t>(call.out.columns()) * dtype_size(call.out.dtype), step = call.in[0]->rows() == 1 ? 0 : bytes;
  return bound([copy = ByteCopy{static_cast<const char*>(buffers.in[0]), static_cast<char*>(buffers.out), static_cast<size_t>(call.out.rows()), bytes,
                                step, bytes}](Stream& stream) { copy.run(&stream.stop); });
}

std::unique_ptr<BoundKernel> bind_sinusoid(const KernelCall& call, const Buffers& buffers) {
  const TimestepEmbedding e{.channels = call.attrs->integer("dim"),
                            .flip_sin_to_cos = call.attrs->integer("flip_sin_to_cos") != 0,
                            .downscale_freq_shift = static_cast<float>(call.attrs->real("downscale_freq_shift")),
                            .scale = static_cast<float>(call.attrs->real("scale", 1))};
  return bound([e, t = static_cast<const float*>(buffers.in[0]), count = numel(call.in[0]->shape), y = static_cast<float*>(buffers.out)] {
    timestep_embedding(e, t, count, y);
  });
}

std::unique_ptr<BoundKernel> bind_widen(const KernelCall& call, const Buffers& buffers) {
  const BlockFormatInfo& format = block_format_info(*find_block_format(call.attrs->text("format")));
  return bound([&format, blocks = static_cast<const std::byte*>(buffers.in[0]), count = numel(call.in[0]->shape) / format.bytes,
                y = static_cast<float*>(buffers.out)] {
    parallel_for(count, std::max<int64_t>(1, 4096 / format.values), [&](int64_t begin, int64_t end) {
      widen_blocks(format.format, {blocks + begin * format.bytes, static_cast<size_t>((end - begin) * format.bytes)}, y + begin * format.values);
    });
  });
}

std::unique_ptr<BoundKernel> bind_center_crop(const KernelCall& call, const Buffers& buffers) {
  const Shape &table = call.in[0]->shape, &like = call.in[1]->shape;
  const int64_t side = square_side(table[0]);
  const size_t entry = static_cast<size_t>(table[1]) * dtype_size(call.out.dtype), line = static_cast<size_t>(like[2]) * entry;
  const int64_t first = (side / 2 - like[1] / 2) * side + side / 2 - like[2] / 2;
  return bound(
      [copy = ByteCopy{static_cast<const char*>(buffers.in[0]) + static_cast<size_t>(first) * entry, static_cast<char*>(buffers.out),
                       static_cast<size_t>(like[1]), line, static_cast<size_t>(side) * entry, line}](Stream& stream) { copy.run(&stream.stop); });
}

std::unique_ptr<BoundKernel> bind_depth_to_space(const KernelCall& call, const Buffers& buffers) {
  const Shape &x = call.in[0]->shape, &y = call.out.shape;
  const int64_t block = call.attrs->integer("block");
  const size_t run = static_cast<size_t>(block * y[3]) * dtype_size(call.out.dtype);
  // Of each line of pixels, row d of the blocks is a line of the result.
  return bound([=, from = static_cast<const char*>(buffers.in[0]), to = static_cast<char*>(buffers.out), lines = x[0] * x[1],
                width = static_cast<size_t>(x[2])] {
    parallel_for(lines, std::max<int64_t>(1, (1 << 16) / static_cast<int64_t>(width * run)), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line)
        for (int64_t d = 0; d < block; ++d)
          for (size_t w = 0; w < width; ++w)
            std::memcpy(to + (static_cast<size_t>(line * block + d) * width + w) * run,
                        from + ((static_cast<size_t>(line) * width + w) * static_cast<size_t>(block) + static_cast<size_t>(d)) * run, run);
    });
  });
}

std::unique_ptr<BoundKernel> bind_rotary_table(const KernelCall& call, const Buffers& buffers) {
  // Frequencies and angles in double, as the reference has them: at position 4,096 float32 angles would be off by 1e-4.
  std::vector<double> frequencies;
  std::vector<int64_t> axes;
  const auto& dims = call.attrs->integers("dims");
  for (size_t axis = 0; axis < dims.size(); ++axis)
    for (int64_t j = 0; j < dims[axis]; j += 2) {
      frequencies.push_back(1 / std::pow(call.attrs->real("theta"), static_cast<double>(j) / static_cast<double>(dims[axis])));
      axes.push_back(static_cast<int64_t>(axis));
    }
  return bound([=, positions = static_cast<const float*>(buffers.in[0]), y = static_cast<float*>(buffers.out), tokens = call.out.shape[0],
                count = static_cast<int64_t>(dims.size())] {
    parallel_for(tokens, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (size_t k = 0; k < frequencies.size(); ++k) {
          const double angle = positions[t * count + axes[k]] * frequencies[k];
          float* pair = y + (static_cast<size_t>(t) * frequencies.size() + k) * 2;
          pair[0] = static_cast<float>(std::cos(angle));
          pair[1] = static_cast<float>(std::sin(angle));
        }
    });
  });
}

std::unique_ptr<BoundKernel> bind_relative_position_bias(const KernelCall& call, const Buffers& buffers) {
  const int64_t tokens = call.out.shape[2], heads = call.out.shape[1];
  std::vector<int32_t> buckets;  // by key - query + tokens - 1
  for (int64_t delta = 1 - tokens; delta < tokens; ++delta)
    buckets.push_back(static_cast<int32_t>(relative_position_bucket(delta, call.in[0]->shape[0], call.attrs->integer("max_distance"))));
  return bound(
      [=, table = static_cast<const float*>(buffers.in[0]), line = static_cast<float*>(buffers.workspace), y = static_cast<float*>(buffers.out)] {
        for (int64_t h = 0; h < heads; ++h) {
          for (size_t i = 0; i < buckets.size(); ++i) line[i] = table[buckets[i] * heads + h];
          for (int64_t q = 0; q < tokens; ++q)
            std::memcpy(y + (h * tokens + q) * tokens, line + tokens - 1 - q, static_cast<size_t>(tokens) * sizeof(float));
        }
      });
}

Refusal refuse_position_bias(const KernelCall& call) {
  if (call.in[0]->dtype != DType::float32) return "the table must be float32";
  return std::nullopt;
}
Answer ask_relative_position_bias(const KernelCall& call, const Target&) {
  if (Refusal reason = refuse_position_bias(call)) return *reason;
  return call_offer(call, bind_relative_position_bias, static_cast<size_t>(2 * call.out.shape[2]) * sizeof(float));
}

std::unique_ptr<BoundKernel> bind_geglu(const KernelCall& call, const Buffers& buffers) {
  RowInput hidden = row_input(*call.in[0], buffers.in[0]), gate = hidden;
  const int64_t channels = call.in[0]->columns() / 2;
  gate.data = static_cast<const char*>(hidden.data) + static_cast<size_t>(channels) * dtype_size(hidden.dtype);
  const GatedRows rows{.hidden = hidden, .gate = gate, .rows = call.out.rows(), .channels = channels};
  return bound([rows, y = rows_output(call, buffers.out), bad = buffers.bad_value](Stream& stream) {
    if (gated_rows(rows, y, &stream.stop) != kNoBadRow) bad.report();
  });
}

Refusal refuse_input(const KernelCall& call) { return refuse_unless_activations(call, {0}); }
Answer ask_embedding(const KernelCall& call, const Target&) {
  if (Refusal reason = refuse_unless_activations(call, {1})) return *reason;
  return call_offer(call, bind_embedding, static_cast<size_t>(numel(call.in[0]->shape)) * sizeof(int32_t));
}

}  // namespace

std::span<const KernelEntry> movement_entries() {
  static const std::vector<KernelEntry> list{
      {.name = "reshape", .op = Op::reshape, .ask = accept<bind_reshape>},
      {.name = "flatten_hw", .op = Op::flatten_hw, .ask = accept<bind_reshape>},
      {.name = "unflatten_hw", .op = Op::unflatten_hw, .ask = accept<bind_reshape>},
      {.name = "slice", .op = Op::slice, .ask = accept<bind_slice>},
      {.name = "concat", .op = Op::concat, .ask = accept<bind_concat>},
      {.name = "transpose", .op = Op::transpose, .ask = accept<bind_transpose, refuse_transpose>},
      {.name = "upsample_nearest", .op = Op::upsample_nearest, .ask = accept<bind_upsample, refuse_input>, .strided_in = true, .strided_out = true},
      {.name = "widen", .op = Op::widen, .ask = accept<bind_widen>},
      {.name = "embedding", .op = Op::embedding, .ask = ask_embedding},
      {.name = "gather_rows", .op = Op::gather_rows, .ask = accept<bind_gather_rows>},
      {.name = "argmax", .op = Op::argmax, .ask = accept<bind_argmax>},
      {.name = "first_equal", .op = Op::first_equal, .ask = accept<bind_first_equal>},
      {.name = "select_row", .op = Op::select_row, .ask = accept<bind_select_row>},
      {.name = "expand_rows", .op = Op::expand_rows, .ask = accept<bind_expand_rows>},
      {.name = "sinusoid", .op = Op::sinusoid, .ask = accept<bind_sinusoid>},
      {.name = "center_crop", .op = Op::center_crop, .ask = accept<bind_center_crop>},
      {.name = "depth_to_space", .op = Op::depth_to_space, .ask = accept<bind_depth_to_space>},
      {.name = "rotary_table", .op = Op::rotary_table, .ask = accept<bind_rotary_table>},
      {.name = "relative_position_bias", .op = Op::relative_position_bias, .ask = ask_relative_position_bias},
      {.name = "geglu", .op = Op::geglu, .ask = accept<bind_geglu, refuse_input>, .strided_in = true, .strided_out = true},
  };
  return list;
}

}  // namespace vivace::cpu
