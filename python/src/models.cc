// The components of a pipeline, quantisation, and schedulers.
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "call_options.h"
#include "vivace/vivace.h"

namespace vivace::python {

void bind_models(nb::module_& m) {
  nb::class_<Model>(m, "Model", "A component of a pipeline.")
      .def(
          "compile", [](Model& model, const nb::kwargs& arguments) { model.compile(compile_options(arguments)); },
          "From the next call on, with torch.compile's mode (\"default\" without one), fullgraph, dynamic, and sdpa, error_budget, fuse_qkv, "
          "autotune_seconds.")
      .def(
          "compile_repeated_blocks", [](Model& model, const nb::kwargs& arguments) { model.compile_repeated_blocks(compile_options(arguments)); },
          "Each kind of the model's repeated blocks once.")
      .def(
          "compile_regions", [](Model& model, const nb::kwargs& arguments) { model.compile_regions(compile_options(arguments)); },
          "The same with whatever repeats in the graph.")
      .def("fuse_qkv_projections", &Model::fuse_qkv_projections)
      .def("unfuse_qkv_projections", &Model::unfuse_qkv_projections)
      .def_prop_ro("dtype", [](const Model& model) { return std::string(dtype_name(model.dtype())); })
      .def("num_parameters", &Model::num_parameters);
  nb::class_<Autoencoder, Model>(m, "Autoencoder", "A VAE of any class.")
      .def(
          "compile_decode", [](Autoencoder& vae, const nb::kwargs& arguments) { vae.compile_decode(compile_options(arguments)); },
          "compile() for the decoder alone: pipe.vae.decode = torch.compile(pipe.vae.decode, ...).")
      .def(
          "compile_encode", [](Autoencoder& vae, const nb::kwargs& arguments) { vae.compile_encode(compile_options(arguments)); },
          "compile() for the encoder alone.")
      .def("enable_tiling", &Autoencoder::enable_tiling)
      .def("disable_tiling", &Autoencoder::disable_tiling)
      .def("enable_slicing", &Autoencoder::enable_slicing)
      .def("disable_slicing", &Autoencoder::disable_slicing)
      .def_prop_ro("scaling_factor", &Autoencoder::scaling_factor)
      .def_prop_ro("scale", &Autoencoder::scale);

  nb::class_<LinearInfo>(m, "LinearInfo", "A linear layer as a filter sees it.")
      .def_ro("name", &LinearInfo::name)
      .def_ro("in_features", &LinearInfo::in_features)
      .def_ro("out_features", &LinearInfo::out_features)
      .def_ro("block_class", &LinearInfo::block_class);
  m.def(
      "apply_dynamic_quant",
      [](Model& model, std::optional<QuantizeFilter> filter, const std::string& kind) {
        const Quantization parsed = parse_quantization(kind);
        return filter ? apply_dynamic_quant(model, *filter, parsed) : apply_dynamic_quant(model, parsed);
      },
      nb::arg("model"), nb::arg("filter_fn").none() = nb::none(), nb::arg("kind") = "int8-dynamic",
      "Weights and activations of 8 bits for the layers that the filter takes, or those that measuring finds faster (of float8-dynamic: all). kind: "
      "int8-dynamic, int8-dynamic-rotated or float8-dynamic. Returns their names.");
  m.def("dynamic_quant_filter_fn", &dynamic_quant_filter_fn, nb::arg("layer"));
  m.def("transformer_quant_filter_fn", &transformer_quant_filter_fn, nb::arg("layer"));

  nb::class_<Scheduler>(m, "Scheduler", "A diffusion scheduler.")
      .def_prop_ro("class_name", &Scheduler::class_name)
      .def("config_json", &Scheduler::config_json)
      .def(
          "set_timesteps", [](Scheduler& s, int n) { s.set_timesteps(n); }, nb::arg("num_inference_steps"))
      .def_prop_ro("timesteps", &Scheduler::timesteps)
      .def_prop_ro("sigmas", &Scheduler::sigmas)
      .def_prop_ro("order", &Scheduler::order)
      .def_prop_ro("init_noise_sigma", &Scheduler::init_noise_sigma);
  m.def(
      "make_scheduler",
      [](const std::string& name, const std::string& config, const std::string& overrides) { return make_scheduler(name, config, overrides); },
      nb::arg("name"), nb::arg("config") = "{}", nb::arg("overrides") = "{}");
  m.def("list_schedulers", &list_schedulers);
}

}  // namespace vivace::python
