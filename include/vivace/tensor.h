// A dense, row-major tensor value in host memory. Copies share storage; clone() does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vivace/api.h"
#include "vivace/dtype.h"

namespace vivace VIVACE_API {

using Shape = std::vector<int64_t>;

// Number of elements; 1 for rank 0.
int64_t numel(const Shape& shape);
// "[2, 4, 16, 16]"
std::string to_string(const Shape& shape);

class Tensor {
 public:
  Tensor() = default;
  // Uninitialised storage, 64-byte aligned. Throws UserError when the size is negative or cannot be had.
  Tensor(Shape shape, DType dtype);
  static Tensor zeros(Shape shape, DType dtype = DType::float32);
  static Tensor full(Shape shape, float value);
  static Tensor from(Shape shape, std::span<const float> values);
  static Tensor from(Shape shape, std::span<const int32_t> values);
  static Tensor from(std::initializer_list<float> values);
  // A view of memory that `owner` keeps alive (a file mapping, an arena).
  static Tensor view(Shape shape, DType dtype, void* data, std::shared_ptr<void> owner = nullptr);

  bool defined() const { return data_ != nullptr; }
  // Whether this is the only Tensor on its storage, which it then may reuse.
  bool unique() const { return owner_.use_count() == 1; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i < 0 ? i + static_cast<int>(shape_.size()) : i]; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t numel() const { return vivace::numel(shape_); }
  DType dtype() const { return dtype_; }
  size_t bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype_); }

  void* data() { return data_; }
  const void* data() const { return data_; }
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }
  std::span<float> floats();  // Throws InternalError unless float32.
  std::span<const float> floats() const;

  Tensor clone() const;
  // Converts values, rounding to nearest even. Returns *this when the dtype is the same.
  Tensor to(DType dtype) const;
  // Same storage, other shape; the number of elements must agree.
  Tensor reshape(Shape shape) const;
  // Rows [begin, end) of the first dimension; shares storage.
  Tensor rows(int64_t begin, int64_t end) const;

 private:
  Shape shape_;
  DType dtype_ = DType::float32;
  void* data_ = nullptr;
  std::shared_ptr<void> owner_;
};

// Joins along the first dimension. Shapes behind it and dtypes must agree.
Tensor concat_rows(std::span<const Tensor> parts);
// NCHW <-> NHWC, any dtype.
Tensor nchw_to_nhwc(const Tensor& x);
Tensor nhwc_to_nchw(const Tensor& x);

}  // namespace VIVACE_API
