#include "ops/decompose.h"

#include <cmath>
#include <functional>

#include "ops/infer.h"
#include "ops/positions.h"
#include "ops/tile_program.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Inputs = std::vector<Value>;

Value f32(Builder& b, Value v) { return b.cast(v, DType::float32); }
Value input(const Inputs& inputs, size_t i) { return i < inputs.size() ? inputs[i] : Value{}; }
std::vector<int64_t> last_axis(Builder& b, Value v) { return {static_cast<int64_t>(b.shape(v).size()) - 1}; }

Value centered(Builder& b, Value x, const std::vector<int64_t>& axes) { return b.emit(Op::sub, {x, b.emit(Op::reduce_mean, {x}, {{"axes", axes}})}); }

// (x - mean) / sqrt(variance + eps), over `axes`.
Value normalized(Builder& b, Value x, const std::vector<int64_t>& axes, double eps) {
  const Value d = centered(b, x, axes);
  const Value variance = b.emit(Op::reduce_mean, {b.mul(d, d)}, {{"axes", axes}});
  return b.mul(d, b.emit(Op::rsqrt, {b.affine(variance, 1, eps)}));
}

Value linear(Builder& b, const Node& n, const Inputs& in) {
  Value w = n.attrs.has("blocks") ? b.emit(Op::widen, {in[1]}, {{"format", n.attrs.text("blocks")}}) : f32(b, in[1]);
  if (const Value scale = input(in, 4)) w = b.mul(w, b.reshape(scale, {-1, 1}));
  Value y = b.emit(Op::matmul, {f32(b, in[0]), w}, {{"transpose_b", int64_t{1}}});
  if (input(in, 2)) y = b.add(y, f32(b, in[2]));
  if (n.op == Op::linear) y = b.activation(y, n.attrs.text("act"));
  if (input(in, 5)) y = b.mul(y, f32(b, in[5]));
  return input(in, 3) ? b.add(y, f32(b, in[3])) : y;
}

// A factor of the Kronecker product after the other, the innermost first.
Value hadamard(Builder& b, Value x, int64_t block) {
  const Shape shape = b.shape(x);
  x = f32(b, x);
  for (int64_t stride = 1; stride < block;) {
    const int64_t factor = stride * 4 <= block ? 4 : 2;
    x = b.reshape(x, {-1, factor, stride});
    const auto part = [&](int64_t i) { return b.slice(x, 1, i, i + 1); };
    if (factor == 4)
      x = b.emit(Op::sub, {b.emit(Op::reduce_sum, {x}, {{"axes", std::vector<int64_t>{1}}}),
                           b.affine(b.concat({part(3), part(2), part(1), part(0)}, 1), 2, 0)});
    else
      x = b.concat({b.add(part(0), part(1)), b.emit(Op::sub, {part(0), part(1)})}, 1);
    stride *= factor;
  }
  return b.reshape(b.affine(x, 1 / std::sqrt(static_cast<double>(block)), 0), {shape.begin(), shape.end()});
}

Value geglu(Builder& b, Value x, const std::string& act) {
  const int64_t half = b.channels(x) / 2;
  return b.mul(b.slice(x, -1, 0, half), b.activation(b.slice(x, -1, half, 2 * half), act.empty() ? "gelu" : act));
}

Value group_norm(Builder& b, Value x, Value weight, Value bias, const Attrs& attrs) {
  const Shape shape = b.shape(x);
  const int64_t groups = attrs.integer("groups");
  const Value grouped = b.reshape(f32(b, x), {shape[0], -1, groups, shape.back() / groups});
  const Value y = b.reshape(normalized(b, grouped, {1, 3}, attrs.real("eps")), shape);
  return b.activation(b.add(b.mul(y, f32(b, weight)), f32(b, bias)), attrs.text("act"));
}

Value softmax(Builder& b, Value x) {
  const auto axes = last_axis(b, x);
  const Value e = b.emit(Op::exp, {b.emit(Op::sub, {x, b.emit(Op::reduce_max, {x}, {{"axes", axes}})})});
  return b.emit(Op::div, {e, b.emit(Op::reduce_sum, {e}, {{"axes", axes}})});
}

Value attention(Builder& b, const Node& n, const Inputs& in) {
  const int64_t heads = n.attrs.integer("heads");
  const auto split = [&](Value v) {
    const Shape& s = b.shape(v);
    return b.transpose(b.reshape(f32(b, v), {s[0], s[1], heads, s[2] / heads}), {0, 2, 1, 3});
  };
  Value scores = b.affine(b.emit(Op::matmul, {split(in[0]), split(in[1])}, {{"transpose_b", int64_t{1}}}), n.attrs.real("scale"), 0);
  if (input(in, 3)) scores = b.add(scores, f32(b, in[3]));
  if (n.attrs.integer("causal")) scores = b.add(scores, b.emit(Op::causal_mask, {in[0]}));
  const Value y = b.transpose(b.emit(Op::matmul, {softmax(b, scores), split(in[2])}), {0, 2, 1, 3});
  return b.reshape(y, n.shape);
}

// [.., heads*D] -> [.., heads, D].
Value split_heads(Builder& b, Value x, int64_t heads) {
  Shape shape = b.shape(x);
  shape.back() /= heads;
  shape.insert(shape.end() - 1, heads);
  return b.reshape(x, shape);
}

Value rotary(Builder& b, Value x, Value table, int64_t heads) {
  const Shape shape = b.shape(x);
  const int64_t pairs = shape.back() / heads / 2;
  const auto half = [&](Value v, int64_t i) { return b.slice(v, -1, i, i + 1); };
  const Value p = b.reshape(x, {shape[0], shape[1], heads, pairs, 2}), t = b.reshape(table, {1, shape[1], 1, pairs, 2});
  const Value x0 = half(p, 0), x1 = half(p, 1), cos = half(t, 0), sin = half(t, 1);
  const Value y0 = b.emit(Op::sub, {b.mul(x0, cos), b.mul(x1, sin)}), y1 = b.add(b.mul(x1, cos), b.mul(x0, sin));
  return b.reshape(b.concat({y0, y1}, -1), shape);
}

Value layer_norm(Builder& b, const Node& n, const Inputs& in) {
  const Value x = split_heads(b, f32(b, in[0]), n.attrs.integer("heads", 1));
  Value y = normalized(b, x, last_axis(b, x), n.attrs.real("eps"));
  // x is [.., heads, D] here, what an image has of its own [N, 1, D].
  const auto spread = [&](Value v) {
    const Shape s = b.shape(v);
    return s.size() == 1 ? f32(b, v) : b.reshape(f32(b, v), {s[0], 1, 1, s[2]});
  };
  if (input(in, 1)) y = b.mul(y, spread(in[1]));
  if (input(in, 2)) y = b.add(y, spread(in[2]));
  return b.reshape(y, b.shape(in[0]));
}

Value rms_norm(Builder& b, const Node& n, const Inputs& in) {
  const int64_t heads = n.attrs.integer("heads", 1);
  const Value x = split_heads(b, f32(b, in[0]), heads);
  const Value squares = b.emit(Op::reduce_mean, {b.mul(x, x)}, {{"axes", last_axis(b, x)}});
  Value y = b.mul(b.mul(x, b.emit(Op::rsqrt, {b.affine(squares, 1, n.attrs.real("eps"))})), f32(b, in[1]));
  y = b.reshape(y, b.shape(in[0]));
  return input(in, 2) ? rotary(b, y, in[2], heads) : y;
}

Value depth_to_space(Builder& b, const Node& n, Value x) {
  const Shape s = b.shape(x);
  const int64_t block = n.attrs.integer("block");
  const Value parts = b.reshape(x, {s[0], s[1], s[2], block, block, n.shape[3]});
  return b.reshape(b.transpose(parts, {0, 1, 3, 2, 4, 5}), n.shape);
}

Value conv3d(Builder& b, const Node& n, const Inputs& in) {
  const Shape w = b.shape(in[1]);
  Value sum;
  for (int64_t k = 0; k < w[2]; ++k) {
    const Value frames = b.slice(f32(b, in[0]), 1, k, k + n.shape[1]);
    const Value tap = b.reshape(b.slice(f32(b, in[1]), 2, k, k + 1), {w[0], w[1], w[3], w[4]});
    const Value y = b.conv2d(frames, tap, k == 0 && input(in, 2) ? f32(b, in[2]) : Value{}, 1, n.attrs.integers("padding"));
    sum = k == 0 ? y : b.add(sum, y);
  }
  const Value y = b.activation(sum, n.attrs.text("act"));
  return input(in, 3) ? b.add(y, f32(b, in[3])) : y;
}

// The axis of an op of one axis, with what lies around it: [outer, entries, inner].
struct AroundAxis {
  int64_t axis, outer, entries, inner;
  AroundAxis(const Shape& s, int64_t axis)
      : axis(axis < 0 ? axis + static_cast<int64_t>(s.size()) : axis),
        outer(numel({s.begin(), s.begin() + this->axis})),
        entries(s[static_cast<size_t>(this->axis)]),
        inner(numel({s.begin() + this->axis + 1, s.end()})) {}
};

// `change` of the entries behind the first `keep`, [outer, entries, inner]; then all in x's other sizes again.
Value behind_first(Builder& b, Value x, int64_t axis, int64_t keep, const std::function<Value(Value, const AroundAxis&)>& change) {
  Shape shape = b.shape(x);
  const AroundAxis all(shape, axis);
  Value first;
  if (keep > 0) first = b.slice(x, all.axis, 0, keep), x = b.slice(x, all.axis, keep, all.entries);
  if (keep == all.entries) return first;
  const AroundAxis behind(b.shape(x), all.axis);
  Value y = change(b.reshape(x, {behind.outer, behind.entries, behind.inner}), behind);
  shape[static_cast<size_t>(all.axis)] = b.shape(y)[1];
  y = b.reshape(y, shape);
  return first ? b.concat({first, y}, all.axis) : y;
}

Value repeat_interleave(Builder& b, Value x, int64_t axis, int64_t repeats, int64_t keep) {
  return behind_first(b, x, axis, keep, [&](Value v, const AroundAxis& a) {
    const std::vector<Value> copies(static_cast<size_t>(repeats), b.reshape(v, {a.outer, a.entries, 1, a.inner}));
    return b.reshape(b.concat(copies, 2), {a.outer, a.entries * repeats, a.inner});
  });
}

Value avg_pool(Builder& b, Value x, const Attrs& attrs) {
  const int64_t size = attrs.integer("size");
  return behind_first(b, f32(b, x), attrs.integer("axis"), attrs.integer("keep"), [&](Value v, const AroundAxis& a) {
    const Value groups = b.reshape(v, {a.outer, a.entries / size, size, a.inner});
    return b.reshape(b.emit(Op::reduce_mean, {groups}, {{"axes", std::vector<int64_t>{2}}}), {a.outer, a.entries / size, a.inner});
  });
}

Value spatial_norm(Builder& b, const Node& n, const Inputs& in) {
  const int64_t apart = first_apart(n.shape[1]), repeats = (n.shape[1] - apart) / (b.shape(in[3])[1] - apart);
  const Value z = b.emit(Op::upsample_nearest, {repeat_interleave(b, f32(b, in[3]), 1, repeats, apart), in[0]});
  const auto of_z = [&](size_t i) { return b.add(b.emit(Op::matmul, {z, f32(b, in[i])}), f32(b, in[i + 1])); };
  const Attrs norm{{"groups", n.attrs.integer("groups")}, {"eps", n.attrs.real("eps")}};
  return b.activation(b.add(b.mul(group_norm(b, in[0], in[1], in[2], norm), of_z(4)), of_z(6)), n.attrs.text("act"));
}

}  // namespace

Value decompose(Builder& b, const Node& n, const Inputs& in) {
  Value y;
  switch (n.op) {
    case Op::linear:
      y = linear(b, n, in);
      break;
    case Op::geglu_linear:
      y = geglu(b, linear(b, n, in), n.attrs.text("act"));
      break;
    case Op::geglu:
      y = geglu(b, f32(b, in[0]), "");
      break;
    case Op::quantize_rows:
      y = f32(b, in[0]);
      break;
    case Op::group_norm:
      y = group_norm(b, in[0], in[1], in[2], n.attrs);
      break;
    case Op::layer_norm:
      y = layer_norm(b, n, in);
      break;
    case Op::rms_norm:
      y = rms_norm(b, n, in);
      break;
    case Op::rotary:
      y = rotary(b, f32(b, in[0]), in[1], n.attrs.integer("heads", 1));
      break;
    case Op::depth_to_space:
      y = depth_to_space(b, n, in[0]);
      break;
    case Op::hadamard:
      y = hadamard(b, in[0], n.attrs.integer("block"));
      break;
    case Op::softmax:
      y = softmax(b, f32(b, in[0]));
      break;
    case Op::attention:
      y = attention(b, n, in);
      break;
    case Op::upsample_conv2d:
      y = b.conv2d(b.emit(Op::upsample_nearest, {in[0]}), in[1], input(in, 2), 1, {1, 1, 1, 1});
      break;
    case Op::conv3d:
      y = conv3d(b, n, in);
      break;
    case Op::repeat_interleave:
      y = repeat_interleave(b, in[0], n.attrs.integer("axis"), n.attrs.integer("repeats"), n.attrs.integer("keep"));
      break;
    case Op::avg_pool:
      y = avg_pool(b, in[0], n.attrs);
      break;
    case Op::spatial_norm:
      y = spatial_norm(b, n, in);
      break;
    case Op::tile:
      y = TileText(n.attrs.text("program")).emit(b, in);
      break;
    default:
      throw InternalError(std::string(op_name(n.op)) + " has no decomposition");
  }
  // Quantised rows mean the values before their rounding to 8 bits.
  return is_quantized_rows(n.dtype) ? y : b.cast(y, n.dtype);
}

Graph decompose_all(const Graph& graph) {
  Builder b(DType::float32);
  std::vector<Value> renamed;
  for (const Node& node : graph.nodes) {
    std::vector<Value> inputs;
    inputs.reserve(node.inputs.size());
    for (NodeId in : node.inputs) inputs.push_back(in == kNone ? Value{} : renamed[static_cast<size_t>(in)]);
    if (is_source(node.op) || node.op == Op::fill)
      renamed.push_back(b.copy(node));
    else
      renamed.push_back(is_named(node.op) ? decompose(b, node, inputs) : b.emit(node.op, inputs, node.attrs));
  }
  for (const auto& [name, id] : graph.outputs) b.output(name, renamed[static_cast<size_t>(id)]);
  Graph result = b.take();
  result.normalize();
  return result;
}

}  // namespace vivace
