// vivace._vivace: the library as its Python package uses it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <optional>

#include "bindings.h"
#include "vivace/vivace.h"

namespace vivace::python {
namespace {

namespace nb = nanobind;

// torch.nn.attention.sdpa_kernel as a context manager.
class SdpaScope {
 public:
  explicit SdpaScope(const std::string& backends) : backends_(parse_sdp_backends(backends)) {}
  void enter() { scope_.emplace(backends_); }
  void exit() { scope_.reset(); }

 private:
  SDPBackends backends_;
  std::optional<sdpa_kernel> scope_;
};

}  // namespace

NB_MODULE(_vivace, m) {
  m.doc() = "The library inside of the package vivace.";
  m.attr("__version__") = version();
  // As in C++, each is also the kind before it; Python's ValueError is what Diffusers raises for both.
  const auto user_error = nb::exception<UserError>(m, "UserError", PyExc_ValueError);
  nb::exception<UsageError>(m, "UsageError", user_error);
  nb::exception<InternalError>(m, "InternalError", PyExc_RuntimeError);
  nb::exception<Interrupted>(m, "Interrupted", PyExc_RuntimeError);
  bind_models(m);
  bind_pipeline(m);
  nb::class_<SdpaScope>(m, "sdpa_kernel",
                        "While it lasts, calls of this thread may take these backends of attention alone: \"flash\", \"efficient\", ...")
      .def(nb::init<const std::string&>(), nb::arg("backends"))
      .def("__enter__", &SdpaScope::enter)
      .def("__exit__", [](SdpaScope& scope, const nb::args&) { scope.exit(); });
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, nb::arg("n"));
  m.def("set_float32_matmul_precision", &set_float32_matmul_precision, nb::arg("precision"));
  m.def("get_float32_matmul_precision", &get_float32_matmul_precision);
  m.def(
      "set_compiler_flag", [](const std::string& name, bool value) { set_compiler_flag(config, name + (value ? "=true" : "=false")); },
      nb::arg("name"), nb::arg("value"), "A flag of torch._inductor.config, for what is compiled from now on.");
}

}  // namespace vivace::python
