// Tensors and pictures between Python and the library. Whatever speaks DLPack comes in (NumPy, PyTorch, JAX); NumPy arrays go out.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "vivace/image.h"
#include "vivace/tensor.h"

namespace vivace::python {

namespace nb = nanobind;

// Copied; floating ones as float32. Throws TypeError that calls it `name`.
Tensor to_tensor(nb::handle array, const char* name);
// [height, width, 3]: float32 from 0 to 1, or uint8. The same.
Image to_image(nb::handle array, const char* name);
// Without a copy; None for one that is not defined.
nb::object to_array(const Tensor& tensor);

}  // namespace vivace::python
