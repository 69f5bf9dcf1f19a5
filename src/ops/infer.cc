#include "ops/infer.h"

#include <algorithm>

#include "base/log.h"
#include "ops/positions.h"
#include "ops/shape_rule.h"
#include "ops/tile_program.h"
#include "tensor/block_format.h"
#include "vivace/error.h"

namespace vivace {
namespace {

TensorType apply(const ShapeRule& r, const TensorType& declared) {
  const Attrs& attrs = r.attrs;
  if (is_elementwise(r.op)) {
    TensorType type = r.elementwise();
    if (r.op == Op::cast) type.dtype = parse_dtype(attrs.text("to"));
    return type;
  }
  switch (r.op) {
    case Op::input:
    case Op::weight:
    case Op::fill:
      return declared;
    case Op::tile: {
      TensorType t = r.elementwise();
      r.require(TileText(attrs.text("program")).inputs() <= std::ssize(r.inputs), "the program reads more inputs than there are");
      if (attrs.has("to")) t.dtype = parse_dtype(attrs.text("to"));
      return t;
    }
    case Op::reduce_mean:
    case Op::reduce_max:
    case Op::reduce_sum:
      return r.reduce();
    case Op::matmul:
      return r.matmul();
    case Op::transpose:
      return r.transpose();
    case Op::reshape:
      return r.reshape();
    case Op::flatten_hw:
      r.require(r.shape(0).size() == 4, "[N, H, W, C] is needed");
      return r.like({r.shape(0)[0], r.shape(0)[1] * r.shape(0)[2], r.shape(0)[3]});
    case Op::unflatten_hw: {
      const Shape &x = r.shape(0), &like = r.shape(1);
      r.require(x.size() == 3 && like.size() == 4 && x[0] == like[0] && x[1] == like[1] * like[2], "the number of tokens differs");
      return r.like({x[0], like[1], like[2], x[2]});
    }
    case Op::slice:
      return r.slice();
    case Op::concat:
      return r.concat();
    case Op::interleave: {
      Shape s = r.shape(0);
      const int64_t block = attrs.integer("block", 1);
      r.require(block > 0 && s == r.shape(1) && s.at(0) % block == 0, "equal shapes in whole blocks are needed");
      s[0] *= 2;
      return r.like(s);
    }
    case Op::causal_mask: {
      const Shape& s = r.shape(0);
      return {DType::float32, {s.at(1), s.at(1)}};
    }
    case Op::center_crop: {
      const Shape &table = r.shape(0), &like = r.shape(1);
      r.require(table.size() == 2 && like.size() >= 3, "a table [side^2, C] and a value [N, H, W, ..] are needed");
      const int64_t side = square_side(table[0]);
      r.require(side > 0 && like[1] <= side && like[2] <= side, "the table is no square or too small");
      return r.like({1, like[1] * like[2], table[1]});
    }
    case Op::rotary_table: {
      const auto& dims = attrs.integers("dims");
      r.require(r.in(0).dtype == DType::float32 && r.shape(0).size() == 2 && r.shape(0)[1] == static_cast<int64_t>(dims.size()),
                "float32 positions [T, axes] are needed");
      int64_t width = 0;
      for (int64_t dim : dims) {
        r.require(dim > 0 && dim % 2 == 0, "dims must be even");
        width += dim;
      }
      return {DType::float32, {r.shape(0)[0], width}};
    }
    case Op::relative_position_bias: {
      const Shape &table = r.shape(0), &like = r.shape(1);
      r.require(table.size() == 2 && table[0] > 0 && table[0] % 4 == 0 && like.size() >= 2,
                "a table [buckets, heads] and a value [N, S, ..] are needed");
      r.require(attrs.integer("max_distance") > table[0] / 4, "max_distance leaves no room for the buckets");
      return {DType::float32, {1, table[1], like[1], like[1]}};
    }
    case Op::conv2d:
      r.require(r.shape(1).size() == 4, "w [O, I, kh, kw] is needed");
      return r.convolution(r.conv(r.shape(0), r.shape(1)));
    case Op::conv3d:
      return r.conv3d();
    case Op::repeat_interleave:
      return r.repeat_interleave();
    case Op::avg_pool:
      return r.avg_pool();
    case Op::spatial_norm:
      return r.spatial_norm();
    case Op::upsample_nearest:
      return r.upsample();
    case Op::upsample_conv2d: {
      Shape s = r.shape(0);
      r.require(s.size() >= 4 && r.shape(1).size() == 4 && s.back() == r.shape(1)[1], "the channels of x and w differ");
      s[s.size() - 3] *= 2, s[s.size() - 2] *= 2, s.back() = r.shape(1)[0];
      return r.convolution(s);
    }
    case Op::widen:
      return r.widen();
    case Op::embedding: {
      Shape s = r.shape(0);
      r.require(r.in(0).dtype == DType::int32 && r.shape(1).size() == 2 && r.shape(1)[0] > 0, "int32 ids and a table [V, C] are needed");
      s.push_back(r.shape(1)[1]);
      return {r.in(1).dtype, s};
    }
    case Op::gather_rows: {
      const Shape& x = r.shape(0);
      r.require(x.size() == 3 && x[1] > 0 && r.in(1).dtype == DType::int32 && r.shape(1) == Shape{x[0]},
                "x [N, S, C] and an int32 index [N] are needed");
      return r.like({x[0], x[2]});
    }
    case Op::argmax:
    case Op::first_equal:
      r.require(r.in(0).dtype == DType::int32 && r.shape(0).size() == 2 && r.shape(0)[1] > 0, "int32 [N, S] is needed");
      return {DType::int32, {r.shape(0)[0]}};
    case Op::select_row:
      r.require(!r.shape(0).empty() && r.shape(0)[0] > 0 && r.in(1).dtype == DType::int32 && r.shape(1) == Shape{1},
                "a table of rows and an int32 index are needed");
      return r.like({r.shape(0).begin() + 1, r.shape(0).end()});
    case Op::expand_rows: {
      const Shape &x = r.shape(0), &like = r.shape(1);
      r.require(x.size() == 2 && !like.empty() && (x[0] == 1 || x[0] == like[0]), "one row, or one for each of like's, is needed");
      return r.like({like[0], x[1]});
    }
    case Op::sinusoid:
      r.require(r.in(0).dtype == DType::float32, "float32 is needed");
      return {DType::float32, {numel(r.shape(0)), attrs.integer("dim")}};
    case Op::linear:
      return r.linear(1);
    case Op::geglu_linear:
      return r.linear(2);
    case Op::geglu: {
      Shape s = r.shape(0);
      r.require(s.back() % 2 == 0, "an even number of features is needed");
      s.back() /= 2;
      return r.maybe_quantized(r.like(s));
    }
    case Op::quantize_rows:
      return r.quantized(r.in(0));
    case Op::hadamard:
      r.require_blocks("block", r.shape(0).empty() ? -1 : r.shape(0).back());
      return r.in(0);
    case Op::group_norm:
      r.require_affine();
      r.require_groups();
      return r.in(0);
    case Op::layer_norm:
    case Op::rms_norm:
      return r.row_norm();
    case Op::rotary:
      r.require_rotary(r.shape(1));
      return r.in(0);
    case Op::depth_to_space: {
      const Shape& x = r.shape(0);
      const int64_t block = attrs.integer("block");
      r.require(x.size() == 4 && block > 0 && x[3] % (block * block) == 0, "x [N, H, W, block^2 * C] is needed");
      return r.like({x[0], block * x[1], block * x[2], x[3] / (block * block)});
    }
    case Op::softmax:
      return r.in(0);
    case Op::attention:
      return r.attention();
#define OP(...)
#define ELEMENTWISE(id, ...) case Op::id:
#include "ir/op_list.inc"
#undef OP
      break;
  }
  r.fail("has no shape rule");
}

}  // namespace

DType quantized_rows(const std::string& compute) {
  return compute == "int8_dynamic" ? DType::uint8 : compute == "float8_dynamic" ? DType::float8_e4m3 : DType::float32;
}

Shape broadcast(const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()));
  for (size_t i = 0; i < result.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) throw InternalError(cat("shapes ", to_string(a), " and ", to_string(b), " do not broadcast"));
    result[result.size() - 1 - i] = x == 1 ? y : x;
  }
  return result;
}

int64_t weight_features(const Attrs& attrs, const Shape& weight) {
  return attrs.has("blocks") ? values_in(attrs.text("blocks"), weight[1]).value_or(-1) : weight[1];
}

TensorType infer(Op op, const Attrs& attrs, std::span<const std::optional<TensorType>> inputs, const TensorType& declared) {
  return apply(ShapeRule{op, attrs, inputs}, declared);
}

int64_t slice_begin(const Attrs& attrs, const Shape& whole, const Shape& part, size_t axis) {
  if (attrs.integer("back")) return whole[axis] - part[axis];
  const int64_t begin = attrs.integer("begin");
  return begin < 0 ? begin + whole[axis] : begin;
}

TensorType infer(const Graph& graph, const Node& node) {
  std::vector<std::optional<TensorType>> inputs;
  inputs.reserve(node.inputs.size());
  for (NodeId in : node.inputs) inputs.push_back(in == kNone ? std::nullopt : std::optional(TensorType{graph[in].dtype, graph[in].shape}));
  return infer(node.op, node.attrs, inputs, {node.dtype, node.shape});
}

}  // namespace vivace
