// The arguments of a call, by the names of Diffusers.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "vivace/compile.h"
#include "vivace/pipeline.h"

namespace vivace::python {

namespace nb = nanobind;

// None is as if it were not there. Throws TypeError for a name that is none, and for a value of another type.
CallOptions call_options(const nb::dict& arguments);
// Those of from_pretrained, and of compile(): torch.compile's, and CompileOptions' of vivace/compile.h.
PretrainedOptions pretrained_options(const nb::dict& arguments);
CompileOptions compile_options(const nb::dict& arguments);
// Of a Python value: "bfloat16", or what prints as "torch.bfloat16".
DType to_dtype(nb::handle value);

}  // namespace vivace::python
