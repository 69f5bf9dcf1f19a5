#include "tensors.h"

#include <span>
#include <vector>

namespace vivace::python {
namespace {

using Array = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;

[[noreturn]] void wrong(const char* name, const char* expected) { throw nb::type_error((std::string(name) + ": expected " + expected).c_str()); }

Array array_of(nb::handle value, const char* name) {
  Array array;
  if (!nb::try_cast(value, array)) wrong(name, "an array in the CPU's memory (NumPy, or what DLPack passes on)");
  return array;
}

// A view, to be copied.
Tensor view_of(const Array& array, const char* name) {
  Shape shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  const auto as = [&](DType dtype) { return Tensor::view(shape, dtype, const_cast<void*>(array.data())); };
  const nb::dlpack::dtype type = array.dtype();
  if (type == nb::dtype<float>()) return as(DType::float32);
  if (type == nb::dtype<double>()) return as(DType::float64);
  if (type == nb::dtype<uint8_t>()) return as(DType::uint8);
  if (type == nb::dtype<int32_t>()) return as(DType::int32);
  if (type == nb::dtype<int64_t>()) return as(DType::int64);
  if (type.bits == 16 && type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float)) return as(DType::float16);
  if (type.bits == 16 && type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat)) return as(DType::bfloat16);
  wrong(name, "an array of float32, float64, float16, bfloat16, uint8, int32 or int64");
}

}  // namespace

Tensor to_tensor(nb::handle value, const char* name) {
  const Array array = array_of(value, name);
  const Tensor view = view_of(array, name);
  return is_floating(view.dtype()) && view.dtype() != DType::float32 ? view.to(DType::float32) : view.clone();
}

Image to_image(nb::handle value, const char* name) {
  const Tensor tensor = to_tensor(value, name);
  if (tensor.rank() != 3 || tensor.dim(2) != 3) wrong(name, "a picture of shape [height, width, 3]");
  if (tensor.dtype() == DType::float32) return Image::from_tensor(tensor);
  if (tensor.dtype() != DType::uint8) wrong(name, "a picture of float32 (0 to 1) or uint8");
  return Image::from_pixels(static_cast<int>(tensor.dim(0)), static_cast<int>(tensor.dim(1)), std::span(tensor.as<uint8_t>(), tensor.bytes()));
}

nb::object to_array(const Tensor& tensor) {
  if (!tensor.defined()) return nb::none();
  std::vector<size_t> shape(tensor.shape().begin(), tensor.shape().end());
  auto* owned = new Tensor(tensor);
  const nb::capsule owner(owned, [](void* pointer) noexcept { delete static_cast<Tensor*>(pointer); });
  const nb::dlpack::dtype type = tensor.dtype() == DType::uint8   ? nb::dtype<uint8_t>()
                                 : tensor.dtype() == DType::int32 ? nb::dtype<int32_t>()
                                 : tensor.dtype() == DType::int64 ? nb::dtype<int64_t>()
                                                                  : nb::dtype<float>();
  return nb::cast(nb::ndarray<nb::numpy>(owned->data(), shape.size(), shape.data(), owner, nullptr, type));
}

}  // namespace vivace::python
