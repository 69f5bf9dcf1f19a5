// ShapeRule: one op with what it is given, and what shapes it makes of that. infer.cc says which rule is which op's.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "base/log.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace {

struct ShapeRule {
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

  TensorType elementwise() const;
  TensorType reduce() const;
  TensorType matmul() const;
  TensorType transpose() const;
  TensorType reshape() const;
  TensorType slice() const;
  TensorType concat() const;
  // [.., H, W, O] of a convolution of [.., H, W, I] with a kernel [O, I, .., kh, kw].
  Shape conv(Shape x, const Shape& w) const;
  // What a convolution adds to its result, from input `first` on.
  TensorType with_addends(const Shape& result, size_t first, std::initializer_list<Shape> addends) const;
  // Bias, image_bias and residual.
  TensorType convolution(const Shape& result) const;
  TensorType conv3d() const;
  // The number of entries along the axis behind the first `keep`.
  int64_t entries_behind(size_t along) const;
  TensorType repeat_interleave() const;
  TensorType avg_pool() const;
  TensorType spatial_norm() const;
  void require_groups() const;
  // A scale and a shift for each channel, inputs 1 and 2.
  void require_affine() const;
  // A vector of features for each image of [N, T, C], or one for all.
  bool is_of_images(const Shape& vector, const Shape& images) const;
  // A norm of each of the row's heads; weights, where there are any, of one head, or of each image.
  TensorType row_norm() const;
  // x [N, T, heads*D] with a table float32 [T, D].
  void require_rotary(const Shape& table) const;
  TensorType linear(int64_t parts) const;
  TensorType widen() const;
  // Of a Hadamard matrix.
  void require_blocks(const char* attribute, int64_t features) const;
  // The same rows, quantised as the op says; maybe_quantized: or as they are, where it says nothing.
  TensorType quantized(TensorType type) const;
  TensorType maybe_quantized(TensorType type) const;
  TensorType attention() const;
  TensorType upsample() const;
};

}  // namespace vivace
