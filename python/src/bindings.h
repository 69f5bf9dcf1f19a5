// The parts of the module.
#pragma once

#include <nanobind/nanobind.h>

namespace vivace::python {

void bind_models(nanobind::module_& module);
void bind_pipeline(nanobind::module_& module);

}  // namespace vivace::python
