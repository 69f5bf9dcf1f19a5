// A pipeline, as vivace/pipelines.py in Python has it inside.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <filesystem>

#include "bindings.h"
#include "call_options.h"
#include "interrupt.h"
#include "tensors.h"
#include "vivace/vivace.h"

namespace vivace::python {
namespace {

std::unique_ptr<DiffusionPipeline> load(const std::filesystem::path& path, const nb::dict& arguments) {
  const PretrainedOptions options = pretrained_options(arguments);
  const nb::gil_scoped_release released;
  std::error_code ignored;
  auto pipe =
      std::make_unique<DiffusionPipeline>(std::filesystem::is_regular_file(path, ignored) ? DiffusionPipeline::from_single_file(path, options)
                                                                                          : DiffusionPipeline::from_pretrained(path, options));
  if (pipe->makes_videos())
    throw UsageError(pipe->class_name() + " makes videos, which the Python package has no form for: use C++ or `vivace generate`");
  return pipe;
}

// `on_step` is given the step, the timestep and the latents. It returns latents to go on with, or None, and whether to stop with the picture as it
// is.
StepCallback step_callback(const nb::object& on_step) {
  return [&on_step](const DiffusionPipeline&, int step, float timestep, StepState& state) {
    const nb::gil_scoped_acquire acquired;
    const nb::tuple answer = nb::cast<nb::tuple>(on_step(step, timestep, to_array(state.latents)));
    if (!answer[0].is_none()) state.latents = to_tensor(answer[0], "latents");
    if (nb::cast<bool>(answer[1])) state.interrupt = true;
  };
}

nb::dict draw(const DiffusionPipeline& pipe, const std::vector<std::string>& prompt, const nb::dict& arguments, const nb::object& on_step) {
  std::vector<Generator> generators;  // which the call points to
  if (arguments.contains("generators"))
    for (const nb::handle state : nb::cast<nb::list>(arguments["generators"])) generators.emplace_back().set_state(to_tensor(state, "generator"));
  CallOptions call = call_options(arguments);
  for (Generator& generator : generators) call.generators.push_back(&generator);
  if (!on_step.is_none()) call.callback_on_step_end = step_callback(on_step);
  PipelineOutput out;
  try {
    const StopAtInterrupt interrupt;
    call.stop = interrupt.token();
    const nb::gil_scoped_release released;
    out = pipe(Prompts(prompt), call);
  } catch (const Interrupted&) {
    if (PyErr_CheckSignals() != 0) throw nb::python_error();  // KeyboardInterrupt, which the signal is to raise
    throw;
  }
  nb::list images;
  for (const Image& image : out.images) images.append(to_array(image.tensor()));
  nb::dict result;
  result["images"] = images;
  nb::list states;
  for (const Generator& generator : generators) states.append(to_array(generator.get_state()));
  result["generators"] = states;
  result["latents"] = to_array(out.latents);
  result["seeds"] = nb::cast(out.seeds);
  result["step_seconds"] = nb::cast(out.timings.steps);
  result["total_seconds"] = out.timings.total;
  return result;
}

}  // namespace

void bind_pipeline(nb::module_& m) {
  using P = DiffusionPipeline;
  nb::class_<P>(m, "Pipeline", "What the pipelines of vivace are made of.")
      .def_static("load", &load, nb::arg("path"), nb::arg("options"))
      .def("draw", &draw, nb::arg("prompt"), nb::arg("options"), nb::arg("on_step").none() = nb::none())
      .def_prop_ro("class_name", &P::class_name)
      .def("models", &P::models)
      .def(
          "model",
          [](P& pipe, const std::string& name) {
            Model& model = pipe.model(name);
            if (auto* vae = dynamic_cast<Autoencoder*>(&model)) return nb::cast(vae, nb::rv_policy::reference);
            return nb::cast(&model, nb::rv_policy::reference);
          },
          nb::arg("name"), nb::keep_alive<0, 1>())
      .def("scheduler", [](P& pipe) { return pipe.scheduler().clone(); })
      .def("set_scheduler", [](P& pipe, const Scheduler& scheduler) { pipe.set_scheduler(scheduler.clone()); })
      .def("default_size",
           [](const P& pipe) {
             return std::vector<int64_t>{pipe.default_size().first, pipe.default_size().second};
           })
      .def("fuse_qkv_projections", &P::fuse_qkv_projections, nb::arg("unet") = true, nb::arg("vae") = true)
      .def("unfuse_qkv_projections", &P::unfuse_qkv_projections, nb::arg("unet") = true, nb::arg("vae") = true)
      .def("enable_vae_tiling", &P::enable_vae_tiling)
      .def("disable_vae_tiling", &P::disable_vae_tiling)
      .def("enable_model_cpu_offload", &P::enable_model_cpu_offload)
      .def("enable_sequential_cpu_offload", &P::enable_sequential_cpu_offload)
      .def("load_lora_weights", &P::load_lora_weights, nb::arg("path"), nb::arg("adapter_name") = "", nb::arg("hotswap") = false)
      .def("set_adapters", &P::set_adapters, nb::arg("names"), nb::arg("weights") = std::vector<double>())
      .def("get_active_adapters", &P::get_active_adapters)
      .def("get_list_adapters", &P::get_list_adapters)
      .def("delete_adapters", &P::delete_adapters, nb::arg("names"))
      .def("fuse_lora", &P::fuse_lora, nb::arg("lora_scale") = 1.0, nb::arg("adapter_names") = std::vector<std::string>())
      .def("unfuse_lora", &P::unfuse_lora)
      .def("unload_lora_weights", &P::unload_lora_weights)
      .def("enable_lora_hotswap", &P::enable_lora_hotswap, nb::arg("target_rank") = 128)
      .def("load_textual_inversion", &P::load_textual_inversion, nb::arg("path"), nb::arg("token") = "")
      .def("unload_textual_inversion", &P::unload_textual_inversion, nb::arg("tokens") = std::vector<std::string>());
}

}  // namespace vivace::python
