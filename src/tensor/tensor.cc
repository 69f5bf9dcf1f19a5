#include "vivace/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/log.h"
#include "base/parallel.h"
#include "tensor/allocations.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector register

thread_local int64_t allocations = 0;

template <class Fn>
auto with_type(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::float32:
      return fn(float{});
    case DType::float16:
      return fn(f16{});
    case DType::bfloat16:
      return fn(bf16{});
    case DType::float8_e4m3:
      return fn(f8e4m3{});
    case DType::float64:
      return fn(double{});
    case DType::int8:
      return fn(int8_t{});
    case DType::uint8:
      return fn(uint8_t{});
    case DType::int32:
      return fn(int32_t{});
    case DType::int64:
      return fn(int64_t{});
    case DType::boolean:
      return fn(bool{});
  }
  throw InternalError("dtype out of range");
}

template <class From, class To>
void convert(const From* from, To* to, int64_t n) {
  parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_arithmetic_v<From> && std::is_arithmetic_v<To>)
        to[i] = static_cast<To>(from[i]);
      else if constexpr (std::is_arithmetic_v<To>)
        to[i] = static_cast<To>(static_cast<float>(from[i]));
      else
        to[i] = To(static_cast<float>(from[i]));
    }
  });
}

void check_swap(const Tensor& x, const char* name) {
  if (x.rank() != 4) throw InternalError(cat(name, ": expected rank 4, got ", to_string(x.shape())));
}

// [n, a, b] -> [n, b, a] for elements of `size` bytes.
Tensor swap_last(const Tensor& x, int64_t n, int64_t a, int64_t b, Shape shape) {
  Tensor y(std::move(shape), x.dtype());
  const size_t size = dtype_size(x.dtype());
  const auto* from = static_cast<const char*>(x.data());
  auto* to = static_cast<char*>(y.data());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t q = 0; q < b; ++q)
      for (int64_t p = 0; p < a; ++p) std::memcpy(to + ((i * b + q) * a + p) * size, from + ((i * a + p) * b + q) * size, size);
  return y;
}

}  // namespace

int64_t tensor_allocations() { return allocations; }

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

Tensor::Tensor(Shape shape, DType dtype) : shape_(std::move(shape)), dtype_(dtype) {
  int64_t elements = 1;
  for (int64_t d : shape_) {
    if (d < 0 || (d > 0 && elements > std::numeric_limits<int64_t>::max() / 16 / d))
      throw UserError("a tensor of shape " + to_string(shape_) + " cannot be made: sizes must not be negative nor overflow");
    elements *= d;
  }
  const size_t size = (std::max<size_t>(bytes(), 1) + kAlignment - 1) / kAlignment * kAlignment;
  data_ = std::aligned_alloc(kAlignment, size);
  if (!data_) throw UserError(cat("out of memory: a ", dtype_name(dtype_), " tensor of shape ", to_string(shape_), " takes ", size, " bytes"));
  owner_ = std::shared_ptr<void>(data_, std::free);
  ++allocations;
}

Tensor Tensor::zeros(Shape shape, DType dtype) {
  Tensor t(std::move(shape), dtype);
  std::memset(t.data_, 0, t.bytes());
  return t;
}

Tensor Tensor::full(Shape shape, float value) {
  Tensor t(std::move(shape), DType::float32);
  std::ranges::fill(t.floats(), value);
  return t;
}

Tensor Tensor::from(Shape shape, std::span<const float> values) {
  Tensor t(std::move(shape), DType::float32);
  if (t.numel() != static_cast<int64_t>(values.size()))
    throw UsageError(cat("a tensor of shape ", to_string(t.shape_), " needs ", t.numel(), " values, got ", values.size()));
  std::ranges::copy(values, t.as<float>());
  return t;
}

Tensor Tensor::from(Shape shape, std::span<const int32_t> values) {
  Tensor t(std::move(shape), DType::int32);
  if (t.numel() != static_cast<int64_t>(values.size()))
    throw UsageError(cat("a tensor of shape ", to_string(t.shape_), " needs ", t.numel(), " values, got ", values.size()));
  std::ranges::copy(values, t.as<int32_t>());
  return t;
}

Tensor Tensor::from(std::initializer_list<float> values) {
  return from({static_cast<int64_t>(values.size())}, std::span<const float>(values.begin(), values.size()));
}

Tensor Tensor::view(Shape shape, DType dtype, void* data, std::shared_ptr<void> owner) {
  Tensor t;
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  t.data_ = data;
  t.owner_ = std::move(owner);
  return t;
}

std::span<float> Tensor::floats() {
  if (dtype_ != DType::float32) throw InternalError(cat("floats() of a ", dtype_name(dtype_), " tensor"));
  return {as<float>(), static_cast<size_t>(numel())};
}

std::span<const float> Tensor::floats() const {
  if (dtype_ != DType::float32) throw InternalError(cat("floats() of a ", dtype_name(dtype_), " tensor"));
  return {as<float>(), static_cast<size_t>(numel())};
}

Tensor Tensor::clone() const {
  Tensor t(shape_, dtype_);
  std::memcpy(t.data_, data_, bytes());
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t(shape_, dtype);
  with_type(dtype_, [&](auto from) { with_type(dtype, [&](auto to) { convert(as<decltype(from)>(), t.as<decltype(to)>(), numel()); }); });
  return t;
}

Tensor Tensor::reshape(Shape shape) const {
  if (vivace::numel(shape) != numel())
    throw UsageError(cat("reshape of ", to_string(shape_), " to ", to_string(shape), " changes the number of elements"));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  if (rank() < 1 || begin < 0 || end < begin || end > dim(0))
    throw UsageError(cat("rows [", begin, ", ", end, ") of a tensor of shape ", to_string(shape_)));
  Tensor t = *this;
  const size_t row = dim(0) ? bytes() / static_cast<size_t>(dim(0)) : 0;
  t.shape_[0] = end - begin;
  t.data_ = static_cast<char*>(data_) + row * static_cast<size_t>(begin);
  return t;
}

Tensor concat_rows(std::span<const Tensor> parts) {
  if (parts.empty()) throw InternalError("concat_rows of nothing");
  Shape shape = parts[0].shape();
  for (const Tensor& p : parts)
    if (p.rank() == 0) throw UsageError("tensors without a dimension, or none at all, cannot be joined by rows");
  shape[0] = 0;
  for (const Tensor& p : parts) {
    Shape tail = p.shape();
    shape[0] += tail[0];
    tail[0] = shape[0];
    if (tail != shape || p.dtype() != parts[0].dtype())
      throw UsageError(cat("tensors of shape ", to_string(parts[0].shape()), " and ", to_string(p.shape()), " cannot be joined"));
  }
  Tensor out(shape, parts[0].dtype());
  auto* to = static_cast<char*>(out.data());
  for (const Tensor& p : parts) {
    std::memcpy(to, p.data(), p.bytes());
    to += p.bytes();
  }
  return out;
}

Tensor nchw_to_nhwc(const Tensor& x) {
  check_swap(x, "nchw_to_nhwc");
  return swap_last(x, x.dim(0), x.dim(1), x.dim(2) * x.dim(3), {x.dim(0), x.dim(2), x.dim(3), x.dim(1)});
}

Tensor nhwc_to_nchw(const Tensor& x) {
  check_swap(x, "nhwc_to_nchw");
  return swap_last(x, x.dim(0), x.dim(1) * x.dim(2), x.dim(3), {x.dim(0), x.dim(3), x.dim(1), x.dim(2)});
}

}  // namespace vivace
