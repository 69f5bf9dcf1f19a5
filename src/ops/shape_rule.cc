#include "ops/shape_rule.h"

#include <algorithm>
#include <array>

#include "ops/positions.h"
#include "tensor/block_format.h"
#include "tensor/narrow_weight.h"

namespace vivace {

TensorType ShapeRule::elementwise() const {
  TensorType result = in(0);
  for (size_t i = 1; i < inputs.size(); ++i) result.shape = broadcast(result.shape, shape(i));
  return result;
}

TensorType ShapeRule::reduce() const {
  Shape s = shape(0);
  for (int64_t a : attrs.integers("axes")) s.at(static_cast<size_t>(a)) = 1;
  return like(s);
}

TensorType ShapeRule::matmul() const {
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

TensorType ShapeRule::transpose() const {
  const auto& perm = attrs.integers("perm");
  require(perm.size() == shape(0).size(), "perm has another rank");
  Shape s;
  for (int64_t p : perm) s.push_back(shape(0).at(static_cast<size_t>(p)));
  return like(s);
}

TensorType ShapeRule::reshape() const {
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

TensorType ShapeRule::slice() const {
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

TensorType ShapeRule::concat() const {
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

Shape ShapeRule::conv(Shape x, const Shape& w) const {
  require(x.size() >= 4 && w.size() >= 4, "x [.., H, W, C] and w [O, I, .., kh, kw] are needed");
  require(x.back() == w[1], "the channels of x and w differ");
  const auto& pad = attrs.integers("padding");
  const int64_t stride = attrs.integer("stride", 1);
  // Kernels count both in 32 bits.
  constexpr int64_t kMost = 1 << 20;
  require(stride > 0 && stride <= kMost, "a positive stride is needed");
  require(pad.empty() || (pad.size() == 4 && std::ranges::all_of(pad, [](int64_t side) { return side >= 0 && side <= kMost; })),
          "padding of [top, left, bottom, right] is needed");
  const auto p = [&](size_t i) { return pad.empty() ? 0 : pad[i]; };
  int64_t &h = x[x.size() - 3], &width = x[x.size() - 2];
  const int64_t kh = w[w.size() - 2], kw = w.back();
  require(h + p(0) + p(2) >= kh && width + p(1) + p(3) >= kw, "the image is smaller than the kernel");
  h = (h + p(0) + p(2) - kh) / stride + 1, width = (width + p(1) + p(3) - kw) / stride + 1;
  x.back() = w[0];
  return x;
}

TensorType ShapeRule::with_addends(const Shape& result, size_t first, std::initializer_list<Shape> addends) const {
  for (const Shape& addend : addends) {
    require(!has(first) || shape(first) == addend, "a bias or the residual has another shape");
    ++first;
  }
  return like(result);
}

TensorType ShapeRule::convolution(const Shape& result) const {
  return with_addends(result, 2, {{result.back()}, {numel({result.begin(), result.end() - 3}), result.back()}, result});
}

TensorType ShapeRule::conv3d() const {
  Shape x = shape(0);
  const Shape& w = shape(1);
  require(x.size() == 5 && w.size() == 5, "x [N, F, H, W, I] and w [O, I, kf, kh, kw] are needed");
  x[1] -= w[2] - 1;
  require(x[1] > 0, "there are fewer frames than the kernel has");
  const Shape result = conv(std::move(x), w);
  return with_addends(result, 2, {{result.back()}, result});
}

int64_t ShapeRule::entries_behind(size_t along) const {
  const int64_t keep = attrs.integer("keep"), entries = shape(0)[along];
  require(keep >= 0 && keep <= entries, "fewer entries than are to be kept");
  return entries - keep;
}

TensorType ShapeRule::repeat_interleave() const {
  Shape s = shape(0);
  const auto along = static_cast<size_t>(axis(s.size()));
  require(attrs.integer("repeats") > 0, "a positive number of repeats is needed");
  s[along] += entries_behind(along) * (attrs.integer("repeats") - 1);
  return like(s);
}

TensorType ShapeRule::avg_pool() const {
  Shape s = shape(0);
  const auto along = static_cast<size_t>(axis(s.size()));
  const int64_t behind = entries_behind(along), size = attrs.integer("size");
  require(size > 0 && behind % size == 0, "the size does not divide the entries");
  s[along] -= behind - behind / size;
  return like(s);
}

TensorType ShapeRule::spatial_norm() const {
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

void ShapeRule::require_groups() const {
  require(attrs.integer("groups") > 0 && shape(0).back() % attrs.integer("groups") == 0, "the groups do not divide the channels");
}

void ShapeRule::require_affine() const {
  require(!shape(0).empty() && shape(1) == Shape{shape(0).back()} && shape(2) == shape(1), "weight and bias [C] are needed");
}

bool ShapeRule::is_of_images(const Shape& vector, const Shape& images) const {
  return vector.size() == 3 && images.size() == 3 && (vector[0] == 1 || vector[0] == images[0]) && vector[1] == 1 && vector[2] == images[2];
}

TensorType ShapeRule::row_norm() const {
  const int64_t heads = attrs.integer("heads", 1);
  require(!shape(0).empty() && heads > 0 && shape(0).back() % heads == 0, "the heads do not divide the features");
  const Shape one{shape(0).back() / heads};
  const auto fits = [&](size_t i) { return !has(i) || shape(i) == one || (op == Op::layer_norm && heads == 1 && is_of_images(shape(i), shape(0))); };
  require(fits(1), "a weight for each feature of a head is needed");
  if (op == Op::layer_norm) require(fits(2), "a bias for each feature of a head is needed");
  const bool turned = op == Op::rms_norm && has(2);
  if (turned) require_rotary(shape(2));
  require((heads == 1 && !turned) || !attrs.has("quantize"), "a row of several heads, or one that is rotated, can't be quantised");
  return maybe_quantized(in(0));
}

void ShapeRule::require_rotary(const Shape& table) const {
  const Shape& x = shape(0);
  const int64_t heads = attrs.integer("heads", 1);
  require(x.size() == 3 && heads > 0 && x[2] % (2 * heads) == 0 && table == Shape{x[1], x[2] / heads},
          "x [N, T, heads*D] and a table [T, D] are needed");
}

TensorType ShapeRule::linear(int64_t parts) const {
  Shape s = shape(0);
  const bool quantized = is_quantized_rows(in(0).dtype);
  require(!s.empty() && shape(1).size() == 2, "x [.., I] and w [O, I] are needed");
  const int64_t features = weight_features(attrs, shape(1));
  require(s.back() == (quantized ? quantized_columns(features) : features), "the features of x and w differ");
  require(!quantized || in(0).dtype == quantized_rows(attrs.text("compute")), "quantised rows of another dtype than its products are needed");
  require(shape(1)[0] % parts == 0, "an even number of rows is needed");
  const DType stored = in(1).dtype;
  require(attrs.has("blocks") == (stored == DType::uint8), "a weight of bytes and the format of its blocks go together");
  require(is_narrow(stored) == has(4), "a weight of 8 bits and its scales go together");
  if (has(4)) require(in(4).dtype == DType::float32 && shape(4) == Shape{shape(1)[0]}, "a float32 scale for each row of w is needed");
  if (attrs.has("hadamard")) require_blocks("hadamard", features);
  s.back() = shape(1)[0] / parts;
  require(!has(2) || shape(2) == Shape{shape(1)[0]}, "the bias has another shape");
  if (has(3)) require(shape(3) == s, "the residual has another shape");
  if (has(5)) require(is_of_images(shape(5), s), "a gate for each feature of an image is needed");
  return {quantized ? parse_dtype(attrs.text("to")) : in(0).dtype, s};
}

TensorType ShapeRule::widen() const {
  Shape s = shape(0);
  const auto values = s.empty() ? std::nullopt : values_in(attrs.text("format"), s.back());
  require(values && dtype_size(in(0).dtype) == 1, "rows of whole blocks of a known format are needed");
  s.back() = *values;
  return {DType::float32, s};
}

void ShapeRule::require_blocks(const char* attribute, int64_t features) const {
  const int64_t block = attrs.integer(attribute);
  const bool fits = block >= 16 && block <= 256 && (block & (block - 1)) == 0;
  require(fits && features % block == 0, "blocks of a power of two that divides the features, from 16 to 256, are needed");
}

TensorType ShapeRule::maybe_quantized(TensorType type) const { return attrs.has("quantize") ? quantized(std::move(type)) : type; }

TensorType ShapeRule::quantized(TensorType type) const {
  const DType dtype = parse_dtype(attrs.text("quantize"));
  require(is_quantized_rows(dtype), "rows are quantised to uint8 or float8_e4m3");
  if (attrs.has("hadamard")) require_blocks("hadamard", type.shape.back());
  type.shape.back() = quantized_columns(type.shape.back());
  return {dtype, type.shape};
}

TensorType ShapeRule::attention() const {
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

TensorType ShapeRule::upsample() const {
  Shape s = shape(0);
  require(s.size() >= 4 && s.end()[-3] > 0 && s.end()[-2] > 0 && (!has(1) || shape(1).size() >= 4), "x [.., H, W, C] is needed");
  for (size_t back : {3, 2}) {
    int64_t& size = s[s.size() - back];
    size = has(1) ? shape(1)[shape(1).size() - back] : 2 * size;
  }
  return like(s);
}

}  // namespace vivace
