#include "backends/tile_layout.h"

#include <algorithm>
#include <optional>

#include "base/log.h"

namespace vivace {
namespace {

// How `in` lies over the output; nullopt when tile programs have no such broadcast.
struct Cover {
  TileBroadcast broadcast;
  int64_t repeats;  // of the whole program over outer dimensions
  int64_t rows_per_image = 0;
};
std::optional<Cover> cover(const Shape& out, const Shape& in) {
  if (in == out) return Cover{TileBroadcast::full, 1};
  if (numel(in) == 1) return Cover{TileBroadcast::scalar, 1};
  Shape padded(out.size() - in.size(), 1);
  padded.insert(padded.end(), in.begin(), in.end());
  const bool last = padded.back() == out.back();
  const bool middle_ones = std::all_of(padded.begin() + 1, padded.end() - 1, [](int64_t d) { return d == 1; });
  if (last && middle_ones && padded[0] == 1) return Cover{TileBroadcast::channel, 1};
  if (last && middle_ones && padded[0] == out[0]) return Cover{TileBroadcast::image_channel, 1, numel(out) / out[0] / out.back()};
  if (padded.back() == 1 && std::equal(padded.begin(), padded.end() - 1, out.begin())) return Cover{TileBroadcast::row, 1};
  // Equal from some dimension on, absent before: [77, C] over [B, 77, C].
  if (padded[0] == 1 && std::equal(padded.begin() + 1, padded.end(), out.begin() + 1)) return Cover{TileBroadcast::full, out[0]};
  return std::nullopt;
}

bool is_activation(DType dtype) { return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16; }

}  // namespace

std::vector<TileInstruction> tile_instructions(const KernelCall& call) {
  if (call.op == Op::tile) return TileText(call.attrs->text("program")).instructions();
  TileInstruction only{call.op, {~0}, *call.attrs};
  if (call.in.size() > 1) only.args.push_back(~1);
  return {only};
}

Refusal refuse_tile(const KernelCall& call) {
  if (!is_activation(call.out.dtype)) return cat("the output is ", dtype_name(call.out.dtype), ", not a float activation");
  for (size_t i = 0; i < call.in.size(); ++i) {
    if (!is_activation(call.in[i]->dtype)) return cat("input ", i, " is ", dtype_name(call.in[i]->dtype), ", not a float activation");
    if (!cover(call.out.shape, call.in[i]->shape))
      return cat("input ", i, " of shape ", to_string(call.in[i]->shape), " does not broadcast by rows or channels");
  }
  return std::nullopt;
}

TileLayout tile_layout(const KernelCall& call) {
  TileLayout t;
  for (const auto& in : call.in) t.repeats = std::max(t.repeats, cover(call.out.shape, in->shape)->repeats);
  t.rows = call.out.rows() / t.repeats;
  t.channels = call.out.columns();
  for (const auto& in : call.in) {
    const auto size = static_cast<int64_t>(dtype_size(in->dtype));
    Cover c = *cover(call.out.shape, in->shape);
    TileLayout::Input input{.type = {}, .stride = in->row_pitch()};
    if (c.broadcast == TileBroadcast::image_channel && t.repeats > 1) {  // a repeat is an image
      c = {TileBroadcast::channel, 1};
      input.step = in->row_pitch() * size;
    }
    input.type = {in->dtype, c.broadcast};
    if (c.rows_per_image) t.rows_per_image = c.rows_per_image;
    if ((c.broadcast == TileBroadcast::full && c.repeats == 1) || c.broadcast == TileBroadcast::row) input.step = t.rows * in->row_pitch() * size;
    t.inputs.push_back(input);
  }
  t.output_step = t.rows * call.out.row_pitch() * static_cast<int64_t>(dtype_size(call.out.dtype));
  return t;
}

}  // namespace vivace
