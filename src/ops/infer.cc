#include "ops/infer.h"

#include <algorithm>

#include "base/log.h"
#include "ops/positions.h"
#include "tensor/block_format.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Rule {
  Op op;
  const Attrs& attrs;
  std::span<const std::optional<TensorType>> inputs;

  [[noreturn]] void fail(const std::string& what) const {
    std::string got;
    for (const auto& in : inputs) got += (got.empty() ? "" : ", ") + (in ? std::string(dtype_name(in->dtype)) + to_string(in->shape) : "_");
    throw InternalError(cat(op_name(op), "(", got, "; ", print_attrs(attrs), "): ", what));
  }
  void require(bool fits, const char* what) const {
    if (!fits) fail(what);
  }
  const TensorType& in(size_t i) const {
    if (i >= inputs.size() || !inputs[i]) fail(cat("input ", i, " is missing"));
    return *inputs[i];
  }
  bool has(size_t i) const { return i < inputs.size() && inputs[i]; }
  const Shape& shape(size_t i) const { return in(i).shape; }
  TensorType like(Shape shape, size_t i = 0) const { return {in(i).dtype, std::move(shape)}; }
  int64_t axis(size_t rank) const {
    const int64_t a = attrs.integer("axis");
    const int64_t positive = a < 0 ? a + static_cast<int64_t>(rank) : a;
    require(positive >= 0 && positive < static_cast<int64_t>(rank), "axis out of range");
    return positive;
  }

  TensorType elementwise() const {
    TensorType result = in(0);
    for (size_t i = 1; i < inputs.size(); ++i) result.shape = broadcast(result.shape, shape(i));
    return result;
  }
  TensorType reduce() const {
    Shape s = shape(0);
    for (int64_t a : attrs.integers("axes")) s.at(static_cast<size_t>(a)) = 1;
    return like(s);
  }
  TensorType matmul() const {
    Shape a = shape(0), b = shape(1);
    require(a.size() >= 2 && b.size() >= 2, "matmul needs rank 2 or more");
    if (attrs.integer("transpose_b")) std::swap(b[b.size() - 1], b[b.size() - 2]);
    require(a.back() == b[b.size() - 2], "inner sizes differ");
    const Shape batch = broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
    Shape s = batch;
    s.push_back(a[a.size() - 2]);
    s.push_back(b.back());
    return like(s);
  }
  TensorType transpose() const {
    const auto& perm = attrs.integers("perm");
    require(perm.size() == shape(0).size(), "perm has another rank");
    Shape s;
    for (int64_t p : perm) s.push_back(shape(0).at(static_cast<size_t>(p)));
    return like(s);
  }
  TensorType reshape() const {
    const auto& wanted = attrs.integers("shape");
    Shape s;
    int64_t known = 1, unknown = -1;
    for (size_t i = 0; i < wanted.size(); ++i) {
      s.push_back(wanted[i] == 0 ? shape(0).at(i) : wanted[i]);
      if (s.back() < 0)
        unknown = static_cast<int64_t>(i);
      else
        known *= s.back();
    }
    const int64_t total = numel(shape(0));
    if (unknown >= 0) {
      require(known > 0 && total % known == 0, "the sizes do not divide");
      s[static_cast<size_t>(unknown)] = total / known;
    }
    require(numel(s) == total, "the number of elements changes");
    return like(s);
  }
  TensorType slice() const {
    Shape s = shape(0);
    const auto a = static_cast<size_t>(axis(s.size()));
    int64_t begin = attrs.integer("begin"), end = attrs.integer("end");
    if (has(1)) {
      const int64_t count = shape(1).at(static_cast<size_t>(attrs.integer("like_axis")));
      if (attrs.integer("back")) begin = s[a] - count;
      require(begin >= 0, "the range is outside the axis");
      end = begin + count;
    } else if (end < 0 || (end == 0 && begin < 0)) {
      end += s[a];
    }
    if (begin < 0) begin += s[a];
    require(begin >= 0 && begin <= end && end <= s[a], "the range is outside the axis");
    s[a] = end - begin;
    return like(s);
  }
  TensorType concat() const {
    Shape s = shape(0);
    const auto a = static_cast<size_t>(axis(s.size()));
    for (size_t i = 1; i < inputs.size(); ++i) {
      Shape other = shape(i);
      require(other.size() == s.size() && in(i).dtype == in(0).dtype, "ranks or dtypes differ");
      s[a] += other[a];
      other[a] = s[a];
      require(other == s, "sizes differ on another axis");
    }
    return like(s);
  }
  // [.., H, W, O] of a convolution of [.., H, W, I] with a kernel [O, I, .., kh, kw].
  Shape conv(Shape x, const Shape& w) const {
    require(x.size() >= 4 && w.size() >= 4, "x [.., H, W, C] and w [O, I, .., kh, kw] are needed");
    require(x.back() == w[1], "the channels of x and w differ");
    const auto& pad = attrs.integers("padding");
    const int64_t stride = attrs.integer("stride", 1);
    require(stride > 0, "the stride is not positive");
    const auto p = [&](size_t i) { return pad.size() == 4 ? pad[i] : 0; };
    int64_t &h = x[x.size() - 3], &width = x[x.size() - 2];
    const int64_t kh = w[w.size() - 2], kw = w.back();
    require(h + p(0) + p(2) >= kh && width + p(1) + p(3) >= kw, "the image is smaller than the kernel");
    h = (h + p(0) + p(2) - kh) / stride + 1, width = (width + p(1) + p(3) - kw) / stride + 1;
    x.back() = w[0];
    return x;
  }
  // What a convolution adds to its result, from input `first` on.
  TensorType with_addends(const Shape& result, size_t first, std::initializer_list<Shape> addends) const {
    for (const Shape& addend : addends) {
      require(!has(first) || shape(first) == addend, "a bias or the residual has another shape");
      ++first;
    }
    return like(result);
  }
  // Bias, image_bias and residual.
  TensorType convolution(const Shape& result) const {
    return with_addends(result, 2, {{result.back()}, {numel({result.begin(), result.end() - 3}), result.back()}, result});
  }
  TensorType conv3d() const {
    Shape x = shape(0);
    const Shape& w = shape(1);
    require(x.size() == 5 && w.size() == 5, "x [N, F, H, W, I] and w [O, I, kf, kh, kw] are needed");
    x[1] -= w[2] - 1;
    require(x[1] > 0, "there are fewer frames than the kernel has");
    const Shape result = conv(std::move(x), w);
    return with_addends(result, 2, {{result.back()}, result});
  }
  // The number of entries along the axis behind the first `keep`.
  int64_t entries_behind(size_t along) const {
    const int64_t keep = attrs.integer("keep"), entries = shape(0)[along];
    require(keep >= 0 && keep <= entries, "fewer entries than are to be kept");
    return entries - keep;
  }
  TensorType repeat_interleave() const {
    Shape s = shape(0);
    const auto along = static_cast<size_t>(axis(s.size()));
    require(attrs.integer("repeats") > 0, "a positive number of repeats is needed");
    s[along] += entries_behind(along) * (attrs.integer("repeats") - 1);
    return like(s);
  }
  TensorType avg_pool() const {
    Shape s = shape(0);
    const auto along = static_cast<size_t>(axis(s.size()));
    const int64_t behind = entries_behind(along), size = attrs.integer("size");
    require(size > 0 && behind % size == 0, "the size does not divide the entries");
    s[along] -= behind - behind / size;
    return like(s);
  }
  TensorType spatial_norm() const {
    const Shape &x = shape(0), &z = shape(3);
    require_affine();
    require_groups();
    require(x.size() == 5 && z.size() == 5 && x[0] == z[0], "x [N, F, H, W, C] and z [N, f, h, w, Z] are needed");
    const int64_t apart = first_apart(x[1]);
    require(z[1] > apart && (x[1] - apart) % (z[1] - apart) == 0 && z[2] > 0 && x[2] % z[2] == 0 && z[3] > 0 && x[3] % z[3] == 0,
            "the size of z does not divide that of x");
    for (size_t i : {4, 6})
      require(shape(i) == Shape{z[4], x[4]} && shape(i + 1) == Shape{x[4]}, "scale and shift [Z, C] and their biases [C] are needed");
    return in(0);
  }
  void require_groups() const {
    require(attrs.integer("groups") > 0 && shape(0).back() % attrs.integer("groups") == 0, "the groups do not divide the channels");
  }
  // A scale and a shift for each channel, inputs 1 and 2.
  void require_affine() const {
    require(!shape(0).empty() && shape(1) == Shape{shape(0).back()} && shape(2) == shape(1), "weight and bias [C] are needed");
  }
  // A vector of features for each image of [N, T, C], or one for all.
  bool is_of_images(const Shape& vector, const Shape& images) const {
    return vector.size() == 3 && images.size() == 3 && (vector[0] == 1 || vector[0] == images[0]) && vector[1] == 1 && vector[2] == images[2];
  }
  // A norm of each of the row's heads; weights, where there are any, of one head, or of each image.
  TensorType row_norm() const {
    const int64_t heads = attrs.integer("heads", 1);
    require(!shape(0).empty() && heads > 0 && shape(0).back() % heads == 0, "the heads do not divide the features");
    const Shape one{shape(0).back() / heads};
    const auto fits = [&](size_t i) {
      return !has(i) || shape(i) == one || (op == Op::layer_norm && heads == 1 && is_of_images(shape(i), shape(0)));
    };
    require(fits(1), "a weight for each feature of a head is needed");
    if (op == Op::layer_norm) require(fits(2), "a bias for each feature of a head is needed");
    const bool turned = op == Op::rms_norm && has(2);
    if (turned) require_rotary(shape(2));
    require((heads == 1 && !turned) || !attrs.integer("quantize"), "a row of several heads, or one that is rotated, can't be quantised");
    return maybe_quantized(in(0));
  }
  // x [N, T, heads*D] with a table float32 [T, D].
  void require_rotary(const Shape& table) const {
    const Shape& x = shape(0);
    const int64_t heads = attrs.integer("heads", 1);
    require(x.size() == 3 && heads > 0 && x[2] % (2 * heads) == 0 && table == Shape{x[1], x[2] / heads},
            "x [N, T, heads*D] and a table [T, D] are needed");
  }
  TensorType linear(int64_t parts) const {
    Shape s = shape(0);
    const bool quantized = in(0).dtype == DType::uint8;
    require(!s.empty() && shape(1).size() == 2, "x [.., I] and w [O, I] are needed");
    const int64_t features = weight_features(attrs, shape(1));
    require(s.back() == (quantized ? quantized_columns(features) : features), "the features of x and w differ");
    require(shape(1)[0] % parts == 0, "an even number of rows is needed");
    const DType stored = in(1).dtype;
    require(attrs.has("blocks") == (stored == DType::uint8), "a weight of bytes and the format of its blocks go together");
    require((stored == DType::int8 || stored == DType::float8_e4m3) == has(4), "a weight of 8 bits and its scales go together");
    if (has(4)) require(in(4).dtype == DType::float32 && shape(4) == Shape{shape(1)[0]}, "a float32 scale for each row of w is needed");
    if (attrs.has("hadamard")) require_blocks("hadamard", features);
    s.back() = shape(1)[0] / parts;
    require(!has(2) || shape(2) == Shape{shape(1)[0]}, "the bias has another shape");
    if (has(3)) require(shape(3) == s, "the residual has another shape");
    if (has(5)) require(is_of_images(shape(5), s), "a gate for each feature of an image is needed");
    return {quantized ? parse_dtype(attrs.text("to")) : in(0).dtype, s};
  }
  TensorType widen() const {
    Shape s = shape(0);
    const auto values = s.empty() ? std::nullopt : values_in(attrs.text("format"), s.back());
    require(values && dtype_size(in(0).dtype) == 1, "rows of whole blocks of a known format are needed");
    s.back() = *values;
    return {DType::float32, s};
  }
  // Of a Hadamard matrix.
  void require_blocks(const char* attribute, int64_t features) const {
    const int64_t block = attrs.integer(attribute);
    const bool fits = block >= 16 && block <= 256 && (block & (block - 1)) == 0;
    require(fits && features % block == 0, "blocks of a power of two that divides the features, from 16 to 256, are needed");
  }
  // The same rows, quantised where the op says so.
  TensorType maybe_quantized(TensorType type) const {
    if (!attrs.integer("quantize")) return type;
    if (attrs.has("hadamard")) require_blocks("hadamard", type.shape.back());
    type.shape.back() = quantized_columns(type.shape.back());
    return {DType::uint8, type.shape};
  }
  TensorType attention() const {
    const Shape &q = shape(0), &k = shape(1), &v = shape(2);
    const int64_t heads = attrs.integer("heads");
    require(q.size() == 3 && k.size() == 3 && v.size() == 3, "q, k, v of rank 3 are needed");
    require(q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && q[2] == k[2], "q, k, v do not fit");
    require(heads > 0 && q[2] % heads == 0 && v[2] % heads == 0, "the heads do not divide the features");
    if (has(3)) {
      const Shape& mask = shape(3);
      const bool by_head =
          mask.size() == 4 && (mask[0] == 1 || mask[0] == q[0]) && (mask[1] == 1 || mask[1] == heads) && mask[2] == q[1] && mask[3] == k[1];
      require(by_head || mask == Shape{q[1], k[1]}, "a mask [queries, keys] or [1 or N, 1 or heads, queries, keys] is needed");
    }
    return like({q[0], q[1], v[2]});
  }
  TensorType upsample() const {
    Shape s = shape(0);
    require(s.size() >= 4 && (!has(1) || shape(1).size() >= 4), "x [.., H, W, C] is needed");
    for (size_t back : {3, 2}) {
      int64_t& size = s[s.size() - back];
      size = has(1) ? shape(1)[shape(1).size() - back] : 2 * size;
    }
    return like(s);
  }
};

TensorType apply(const Rule& r, const TensorType& declared) {
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
      r.require(s == r.shape(1) && s.at(0) % attrs.integer("block", 1) == 0, "equal shapes in whole blocks are needed");
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
      r.require(table.size() == 2 && table[0] % 4 == 0 && like.size() >= 2, "a table [buckets, heads] and a value [N, S, ..] are needed");
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
      r.require(r.in(0).dtype == DType::int32 && r.shape(1).size() == 2, "int32 ids and a table [V, C] are needed");
      s.push_back(r.shape(1)[1]);
      return {r.in(1).dtype, s};
    }
    case Op::gather_rows:
      return r.like({r.shape(0).at(0), r.shape(0).at(2)});
    case Op::argmax:
    case Op::first_equal:
      return {DType::int32, {r.shape(0).at(0)}};
    case Op::select_row:
      r.require(!r.shape(0).empty() && r.in(1).dtype == DType::int32, "a table of rows and an int32 index are needed");
      return r.like({r.shape(0).begin() + 1, r.shape(0).end()});
    case Op::expand_rows: {
      const Shape &x = r.shape(0), &like = r.shape(1);
      r.require(x.size() == 2 && !like.empty() && (x[0] == 1 || x[0] == like[0]), "one row, or one for each of like's, is needed");
      return r.like({like[0], x[1]});
    }
    case Op::sinusoid:
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
    case Op::quantize_rows: {
      Shape s = r.shape(0);
      if (attrs.has("hadamard")) r.require_blocks("hadamard", s.back());
      s.back() = quantized_columns(s.back());
      return {DType::uint8, s};
    }
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
  return apply(Rule{op, attrs, inputs}, declared);
}

int64_t slice_begin(const Attrs& attrs, const Shape& whole, const Shape& part, size_t axis) {
  if (attrs.integer("back")) return whole[axis] - part[axis];
  const int64_t begin = attrs.integer("begin");
  return begin < 0 ? begin + whole[axis] : begin;
}

TensorType infer(const Graph& graph, const Node& node) {
  std::vector<std::optional<TensorType>> inputs;
  for (NodeId in : node.inputs) inputs.push_back(in == kNone ? std::nullopt : std::optional(TensorType{graph[in].dtype, graph[in].shape}));
  return infer(node.op, node.attrs, inputs, {node.dtype, node.shape});
}

}  // namespace vivace
