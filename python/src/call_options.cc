#include "call_options.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <map>

#include "tensors.h"

namespace vivace::python {
namespace {

template <class Options>
using Setters = std::map<std::string, std::function<void(Options&, nb::handle)>>;

template <class Options>
void set_all(Options& options, const nb::dict& arguments, const Setters<Options>& setters, const char* of) {
  for (const auto& [key, value] : arguments) {
    const auto name = nb::cast<std::string>(key);
    const auto setter = setters.find(name);
    if (setter == setters.end()) throw nb::type_error((std::string(of) + " has no argument " + name).c_str());
    if (value.is_none()) continue;
    try {
      setter->second(options, value);
    } catch (const nb::cast_error&) {
      throw nb::type_error((name + " is a " + std::string(nb::str(value.type().attr("__name__")).c_str()) + ", which it does not take").c_str());
    }
  }
}

Prompts prompts(nb::handle value) {
  return nb::isinstance<nb::str>(value) ? Prompts(nb::cast<std::string>(value)) : Prompts(nb::cast<std::vector<std::string>>(value));
}

std::vector<double> numbers(nb::handle value) {
  double one = 0;
  return nb::try_cast(value, one) ? std::vector{one} : nb::cast<std::vector<double>>(value);
}

// A list of pictures, or latents.
ImageInput image_input(nb::handle value, const char* name) {
  if (!nb::isinstance<nb::list>(value)) return to_tensor(value, name);
  std::vector<Image> images;
  for (const nb::handle one : nb::cast<nb::list>(value)) images.push_back(to_image(one, name));
  return images;
}

template <class T, class Options>
std::function<void(Options&, nb::handle)> plain(T Options::*member) {
  return [member](Options& o, nb::handle value) { o.*member = nb::cast<T>(value); };
}

template <class Options>
std::function<void(Options&, nb::handle)> tensor(Tensor Options::*member, const char* name) {
  return [member, name](Options& o, nb::handle value) { o.*member = to_tensor(value, name); };
}

const Setters<CallOptions>& call_setters() {
  using O = CallOptions;
  static const Setters<O> all{
      {"prompt_2", [](O& o, nb::handle v) { o.prompt_2 = prompts(v); }},
      {"negative_prompt", [](O& o, nb::handle v) { o.negative_prompt = prompts(v); }},
      {"negative_prompt_2", [](O& o, nb::handle v) { o.negative_prompt_2 = prompts(v); }},
      {"height", plain(&O::height)},
      {"width", plain(&O::width)},
      {"num_inference_steps", plain(&O::num_inference_steps)},
      {"timesteps", plain(&O::timesteps)},
      {"sigmas", plain(&O::sigmas)},
      {"denoising_end", plain(&O::denoising_end)},
      {"denoising_start", plain(&O::denoising_start)},
      {"guidance_scale", plain(&O::guidance_scale)},
      {"guidance_rescale", plain(&O::guidance_rescale)},
      {"num_images_per_prompt", plain(&O::num_images_per_prompt)},
      {"eta", plain(&O::eta)},
      {"seed", plain(&O::seed)},
      {"seeds", [](O& o, nb::handle v) { o.seeds = nb::cast<std::vector<uint64_t>>(v); }},
      {"generators", [](O&, nb::handle) {}},  // draw() makes them
      {"latents", tensor(&O::latents, "latents")},
      {"prompt_embeds", tensor(&O::prompt_embeds, "prompt_embeds")},
      {"negative_prompt_embeds", tensor(&O::negative_prompt_embeds, "negative_prompt_embeds")},
      {"pooled_prompt_embeds", tensor(&O::pooled_prompt_embeds, "pooled_prompt_embeds")},
      {"negative_pooled_prompt_embeds", tensor(&O::negative_pooled_prompt_embeds, "negative_pooled_prompt_embeds")},
      {"original_inference_steps", plain(&O::original_inference_steps)},
      {"original_size", plain(&O::original_size)},
      {"target_size", plain(&O::target_size)},
      {"crops_coords_top_left", plain(&O::crops_coords_top_left)},
      {"negative_original_size", plain(&O::negative_original_size)},
      {"negative_target_size", plain(&O::negative_target_size)},
      {"negative_crops_coords_top_left", plain(&O::negative_crops_coords_top_left)},
      {"clip_skip", plain(&O::clip_skip)},
      {"true_cfg_scale", plain(&O::true_cfg_scale)},
      {"max_sequence_length", plain(&O::max_sequence_length)},
      {"image", [](O& o, nb::handle v) { o.image = image_input(v, "image"); }},
      {"strength", plain(&O::strength)},
      {"mask_image", [](O& o, nb::handle v) { o.mask_image = image_input(v, "mask_image"); }},
      {"masked_image_latents", tensor(&O::masked_image_latents, "masked_image_latents")},
      {"padding_mask_crop", plain(&O::padding_mask_crop)},
      {"aesthetic_score", plain(&O::aesthetic_score)},
      {"negative_aesthetic_score", plain(&O::negative_aesthetic_score)},
      {"control_image",
       [](O& o, nb::handle v) {
         for (const nb::handle one : nb::cast<nb::list>(v)) o.control_image.push_back(image_input(one, "control_image"));
       }},
      {"controlnet_conditioning_scale", [](O& o, nb::handle v) { o.controlnet_conditioning_scale = numbers(v); }},
      {"control_guidance_start", [](O& o, nb::handle v) { o.control_guidance_start = numbers(v); }},
      {"control_guidance_end", [](O& o, nb::handle v) { o.control_guidance_end = numbers(v); }},
      {"guess_mode", plain(&O::guess_mode)},
      {"max_area", plain(&O::max_area)},
      {"auto_resize", plain(&O::auto_resize)},
      {"output_latent", plain(&O::output_latent)},
  };
  return all;
}

const Setters<PretrainedOptions>& pretrained_setters() {
  using O = PretrainedOptions;
  static const Setters<O> all{
      {"dtype", [](O& o, nb::handle v) { o.dtype = to_dtype(v); }},
      {"variant", plain(&O::variant)},
      {"compile", [](O& o, nb::handle v) { o.compile = compile_options(nb::cast<nb::dict>(v)); }},
      {"device", plain(&O::device)},
      {"offload", [](O& o, nb::handle v) { o.offload = parse_offload(nb::cast<std::string>(v)); }},
      {"max_memory", plain(&O::max_memory)},
      {"pipeline_class", plain(&O::pipeline_class)},
      {"scheduler", plain(&O::scheduler)},
      {"config", [](O& o, nb::handle v) { o.config = nb::cast<std::string>(v); }},
      {"components",
       [](O& o, nb::handle v) {
         for (const auto& [name, path] : nb::cast<std::map<std::string, std::string>>(v)) o.components[name] = path;
       }},
      {"controlnet",
       [](O& o, nb::handle v) {
         for (const std::string& path : nb::cast<std::vector<std::string>>(v)) o.controlnet.emplace_back(path);
       }},
      {"cache", [](O& o, nb::handle v) { o.cache.enabled = nb::cast<bool>(v); }},
      {"cache_dir", [](O& o, nb::handle v) { o.cache.folder = nb::cast<std::string>(v); }},
  };
  return all;
}

const Setters<CompileOptions>& compile_setters() {
  using O = CompileOptions;
  static const Setters<O> all{
      {"mode", [](O& o, nb::handle v) { o.mode = parse_compile_mode(nb::cast<std::string>(v)); }},
      {"fullgraph", plain(&O::fullgraph)},
      {"dynamic", plain(&O::dynamic)},
      {"use_duck_shape", plain(&O::use_duck_shape)},
      {"sdpa", [](O& o, nb::handle v) { o.sdpa = parse_sdp_backends(nb::cast<std::string>(v)); }},
      {"error_budget", [](O& o, nb::handle v) { o.error_budget = nb::cast<double>(v); }},
      {"fuse_qkv", plain(&O::fuse_qkv)},
      {"autotune_seconds", plain(&O::autotune_seconds)},
  };
  return all;
}

}  // namespace

DType to_dtype(nb::handle value) {
  const std::string text = nb::str(value).c_str();
  return parse_dtype(text.starts_with("torch.") ? text.substr(6) : text);
}

CallOptions call_options(const nb::dict& arguments) {
  CallOptions options;
  set_all(options, arguments, call_setters(), "the call");
  return options;
}

PretrainedOptions pretrained_options(const nb::dict& arguments) {
  PretrainedOptions options;
  set_all(options, arguments, pretrained_setters(), "from_pretrained");
  return options;
}

CompileOptions compile_options(const nb::dict& arguments) {
  CompileOptions options;
  options.mode = CompileMode::default_;
  set_all(options, arguments, compile_setters(), "compile");
  return options;
}

}  // namespace vivace::python
