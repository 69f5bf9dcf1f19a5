// The functions of vivace/c.h over the C++ API: no exception leaves them.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <stop_token>
#include <string>
#include <vector>

#include "base/log.h"
#include "vivace/c.h"
#include "vivace/vivace.h"

struct VivacePipeline {
  vivace::DiffusionPipeline pipe;
};
struct VivaceImage {
  vivace::Image image;
};
struct VivaceOutput {
  std::vector<VivaceImage> images;
  uint64_t seed = 0;  // of all of them
};
struct VivaceStop {
  std::stop_source source;
};

namespace vivace {
namespace {

thread_local std::string last_error;

VivaceStatus failed(VivaceStatus status, const char* what) noexcept {
  try {
    last_error = what;
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
  return status;
}

template <class Work>
VivaceStatus guarded(const Work& work) noexcept {
  try {
    work();
    return VIVACE_OK;
  } catch (const Interrupted& error) {
    return failed(VIVACE_INTERRUPTED, error.what());
  } catch (const UsageError& error) {
    return failed(VIVACE_USAGE, error.what());
  } catch (const UserError& error) {
    return failed(VIVACE_INPUT, error.what());
  } catch (const std::bad_alloc&) {
    return failed(VIVACE_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(VIVACE_INTERNAL, error.what());
  } catch (...) {
    return failed(VIVACE_INTERNAL, "an unknown exception");
  }
}

template <class T>
T& given(T* pointer, const char* name) {
  if (!pointer) throw UsageError(cat(name, " is NULL"));
  return *pointer;
}

VivacePretrainedOptions default_pretrained_options() { return {.size = sizeof(VivacePretrainedOptions), .cache = 1}; }
VivaceCallOptions default_call_options() { return {.size = sizeof(VivaceCallOptions), .guidance_scale = -1, .true_cfg_scale = -1, .strength = -1}; }

// Of a struct that has `size` bytes in the program which gives it: a part of this library's, or more, which is then 0.
template <class T>
void initialise(T* options, size_t size, const T& defaults) noexcept {
  std::memset(static_cast<void*>(options), 0, size);
  std::memcpy(static_cast<void*>(options), &defaults, std::min(size, sizeof(T)));
  if (size >= sizeof size) options->size = size;
}

// The fields of the caller's struct that both sides know, over the defaults.
template <class T>
T known_fields(const T* struct_given, T own, const char* name) {
  if (!struct_given) return own;
  const size_t size = struct_given->size;
  if (size < sizeof(size_t)) throw UsageError(cat(name, ": its size is ", size, ": initialise it with the macro of its name"));
  const auto* bytes = reinterpret_cast<const unsigned char*>(struct_given);
  if (size > sizeof(T) && std::any_of(bytes + sizeof(T), bytes + size, [](unsigned char byte) { return byte != 0; }))
    throw UsageError(cat(name, " has fields that this library (", version(), ") does not know: link a newer one"));
  std::memcpy(&own, bytes, std::min(size, sizeof(T)));
  own.size = sizeof(T);
  return own;
}

std::string text(const char* value) { return value ? value : ""; }

// Any other negative number is the caller's, and the pipeline's to take or refuse.
std::optional<double> unless_default(double value) { return value == -1 ? std::nullopt : std::optional(value); }

PretrainedOptions pretrained(const VivacePretrainedOptions* given_options) {
  const auto o = known_fields(given_options, default_pretrained_options(), "VivacePretrainedOptions");
  PretrainedOptions options;
  if (o.dtype) options.dtype = parse_dtype(o.dtype);
  if (o.compile) options.compile.mode = parse_compile_mode(o.compile);
  options.variant = text(o.variant);
  options.pipeline_class = text(o.pipeline_class);
  options.scheduler = text(o.scheduler);
  options.max_memory = o.max_memory;
  options.cache.enabled = o.cache != 0;
  return options;
}

StepCallback callback_of(const VivaceCallOptions& o) {
  return [on_step = o.on_step, data = o.data](const DiffusionPipeline&, int step, float timestep, StepState& state) {
    const VivaceProgress progress{.size = sizeof(VivaceProgress),
                                  .step = step + 1,
                                  .num_steps = state.num_timesteps,
                                  .timestep = timestep,
                                  .seconds = state.seconds,
                                  .latents = state.latents.as<float>(),
                                  .shape = state.latents.shape().data(),
                                  .rank = state.latents.rank()};
    const VivaceNext next = on_step(&progress, data);
    if (next == VIVACE_CANCEL) throw Interrupted("cancelled by the callback");
    if (next == VIVACE_FINISH) state.interrupt = true;
  };
}

CallOptions call_options(const VivaceCallOptions* given_options) {
  const auto o = known_fields(given_options, default_call_options(), "VivaceCallOptions");
  CallOptions call;
  if (o.negative_prompt) call.negative_prompt = Prompts(o.negative_prompt);
  call.height = o.height;
  call.width = o.width;
  if (o.num_inference_steps != 0) call.num_inference_steps = o.num_inference_steps;
  call.guidance_scale = unless_default(o.guidance_scale);
  call.true_cfg_scale = unless_default(o.true_cfg_scale);
  call.strength = unless_default(o.strength);
  if (o.num_images_per_prompt != 0) call.num_images_per_prompt = o.num_images_per_prompt;
  if (o.has_seed) call.seed = o.seed;
  if (o.image) call.image = o.image->image;
  if (o.mask_image) call.mask_image = o.mask_image->image;
  if (o.on_step) call.callback_on_step_end = callback_of(o);
  if (o.stop) call.stop = o.stop->source.get_token();
  return call;
}

}  // namespace
}  // namespace vivace

using vivace::given;
using vivace::guarded;

extern "C" {

const char* vivace_version(void) { return vivace::version(); }
const char* vivace_last_error(void) { return vivace::last_error.c_str(); }
void vivace_set_num_threads(int n) { vivace::set_num_threads(n); }

void vivace_pretrained_options_init(VivacePretrainedOptions* options, size_t size) {
  vivace::initialise(options, size, vivace::default_pretrained_options());
}

VivaceStatus vivace_pipeline_load(const char* path, const VivacePretrainedOptions* options, VivacePipeline** pipeline) {
  return guarded([&] {
    given(pipeline, "pipeline") = nullptr;
    const std::filesystem::path checkpoint = &given(path, "path");
    const vivace::PretrainedOptions o = vivace::pretrained(options);
    std::error_code ignored;
    vivace::DiffusionPipeline pipe = std::filesystem::is_regular_file(checkpoint, ignored)
                                         ? vivace::DiffusionPipeline::from_single_file(checkpoint, o)
                                         : vivace::DiffusionPipeline::from_pretrained(checkpoint, o);
    if (pipe.makes_videos())
      throw vivace::UsageError(pipe.class_name() + " makes videos, which this interface has no form for: use C++ or `vivace generate`");
    *pipeline = new VivacePipeline{std::move(pipe)};
  });
}
void vivace_pipeline_free(VivacePipeline* pipeline) { delete pipeline; }
const char* vivace_pipeline_class_name(const VivacePipeline* pipeline) { return pipeline->pipe.class_name().c_str(); }

VivaceStatus vivace_pipeline_load_lora_weights(VivacePipeline* pipeline, const char* path, const char* name) {
  return guarded([&] { given(pipeline, "pipeline").pipe.load_lora_weights(&given(path, "path"), vivace::text(name)); });
}

VivaceStatus vivace_pipeline_set_adapters(VivacePipeline* pipeline, const char* const* names, const double* weights, size_t count) {
  return guarded([&] {
    std::vector<std::string> chosen;
    if (count > 0) given(names, "names");
    for (size_t i = 0; i < count; ++i) chosen.emplace_back(&given(names[i], "a name"));
    given(pipeline, "pipeline").pipe.set_adapters(chosen, weights ? std::vector(weights, weights + count) : std::vector<double>());
  });
}

VivaceStatus vivace_image_from_pixels(int height, int width, const uint8_t* rgb, VivaceImage** image) {
  return guarded([&] {
    given(image, "image") = nullptr;
    if (height < 1 || width < 1) throw vivace::UsageError(vivace::cat("a picture of ", width, " x ", height, " pixels: expected at least 1 x 1"));
    const size_t bytes = static_cast<size_t>(height) * static_cast<size_t>(width) * 3;
    *image = new VivaceImage{vivace::Image::from_pixels(height, width, std::span(&given(rgb, "rgb"), bytes))};
  });
}
VivaceStatus vivace_image_load(const char* path, VivaceImage** image) {
  return guarded([&] {
    given(image, "image") = nullptr;
    *image = new VivaceImage{vivace::Image::load(&given(path, "path"))};
  });
}
void vivace_image_free(VivaceImage* image) { delete image; }
int vivace_image_height(const VivaceImage* image) { return image->image.height(); }
int vivace_image_width(const VivaceImage* image) { return image->image.width(); }
VivaceStatus vivace_image_pixels(const VivaceImage* image, uint8_t* rgb) {
  return guarded([&] { std::ranges::copy(given(image, "image").image.pixels(), &given(rgb, "rgb")); });
}
const float* vivace_image_values(const VivaceImage* image) { return image->image.tensor().as<float>(); }
VivaceStatus vivace_image_save(const VivaceImage* image, const char* path) {
  return guarded([&] { given(image, "image").image.save(&given(path, "path")); });
}

VivaceStatus vivace_stop_new(VivaceStop** stop) {
  return guarded([&] { given(stop, "stop") = new VivaceStop; });
}
void vivace_stop_request(VivaceStop* stop) { stop->source.request_stop(); }
void vivace_stop_free(VivaceStop* stop) { delete stop; }

void vivace_call_options_init(VivaceCallOptions* options, size_t size) { vivace::initialise(options, size, vivace::default_call_options()); }

VivaceStatus vivace_pipeline_call(const VivacePipeline* pipeline, const char* prompt, const VivaceCallOptions* options, VivaceOutput** output) {
  return guarded([&] {
    given(output, "output") = nullptr;
    vivace::PipelineOutput made = given(pipeline, "pipeline").pipe(&given(prompt, "prompt"), vivace::call_options(options));
    auto result = std::make_unique<VivaceOutput>();
    for (vivace::Image& image : made.images) result->images.push_back({std::move(image)});
    result->seed = made.seeds.at(0);
    *output = result.release();
  });
}
void vivace_output_free(VivaceOutput* output) { delete output; }
size_t vivace_output_count(const VivaceOutput* output) { return output->images.size(); }
const VivaceImage* vivace_output_image(const VivaceOutput* output, size_t index) {
  return index < output->images.size() ? &output->images[index] : nullptr;
}
uint64_t vivace_output_seed(const VivaceOutput* output, size_t index) { return index < output->images.size() ? output->seed : 0; }

}  // extern "C"
