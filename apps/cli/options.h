// Options that several subcommands share.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "components/quantization.h"
#include "families/family.h"
#include "vivace/vivace.h"

namespace vivace::cli {

// How components are compiled.
struct CompileFlags {
  std::vector<std::string> modes;  // "MODE" or "MODE:component,component"
  std::string sdpa = "auto", matmul_precision = "highest", regional;
  bool fullgraph = false, fuse_qkv = false, dynamic = false, no_duck_shape = false;
  std::vector<std::string> disable_passes, compiler_flags, error_budget;
  std::optional<double> autotune_seconds;
  std::string quantize, quantize_filter, quantize_export;
  std::vector<std::string> quantize_component;

  void add(Arguments& app);
  void add_quantize(Arguments& app);  // a part of add()
  // The layers of `graph` (before any pass) that --quantize, which must have been given, and its filter name. Writes --quantize-export.
  // Throws UsageError for an unknown name, UserError for files.
  LayerQuantization quantization(const Graph& graph, const CompileOptions& options, const WeightStack* weights, DType dtype,
                                 const ComponentCache* cache = nullptr) const;
  // What PretrainedOptions has no words for: compiles the denoiser's repeated blocks, where --regional asks for them, and quantises the denoiser, or
  // the components named, where --quantize does; what is measured is measured for such a call. Throws UsageError.
  void apply(DiffusionPipeline& pipe, const CallOptions& call) const;
  // Whether --quantize is for this component, which the denoiser is where none is named.
  bool quantizes(std::string_view component, bool denoiser) const;
  // Of one component: the mode that names it, else the mode without components, else off. All throw UsageError for an unknown name.
  CompileOptions options(const std::string& component) const;
  // Of the denoiser and the vae where they are not named.
  CompileOptions options() const;
  // Of the components that are named.
  std::map<std::string, CompileOptions> named() const;
  // The denoiser's repeated blocks, where --regional asks for them. Throws UsageError for one that lists none.
  void compile_blocks(Model& denoiser, const std::string& name) const;

 private:
  void quantize_components(DiffusionPipeline& pipe, const CallOptions& call) const;
};

// --recipe, when all that it stands for has been added.
Option& add_recipe(Arguments& app, std::string& recipe);

// Where the cache lies, if anywhere.
struct CacheFlags {
  bool off = false;
  std::string folder, size;

  void add(Arguments& app);
  // Throws UsageError for a size that is none.
  CacheOptions options() const;
};

// What a model is loaded from beside --model.
struct ModelFlags {
  std::string config;
  std::vector<std::pair<std::string, std::string>> parts;  // by the names of model_index.json; as given, or empty

  void add(Arguments& app);
  void apply(PretrainedOptions& options) const;
};

// A folder or a file.
DiffusionPipeline open_model(const std::string& model, const PretrainedOptions& options);

// --profile, and --dtype and how components are compiled, in whose place it stands. Returns --dtype.
Option& add_setting(Arguments& app, std::string& profile, std::string& dtype, CompileFlags& compile);

// Dtype and compilation as the profile says, or, where none is named, as the flags do; of those the search's seconds count beside a profile.
PretrainedOptions loading_options(const std::string& profile, const std::string& model, const std::string& dtype, const CompileFlags& compile);

// Everything that makes a picture but the prompt, the seed and the file.
struct PictureOptions {
  std::string model, dtype = "fp32", variant, scheduler, scheduler_config, profile, recipe, device = "cpu", offload = "auto", max_memory;
  const Option* dtype_option = nullptr;  // add()'s
  ModelFlags files;
  CompileFlags compile;
  CacheFlags cache;  // add() leaves its options out: what measures keeps nothing
  std::optional<int64_t> height, width;
  std::optional<int> steps, num_frames, original_inference_steps;
  std::optional<double> guidance_scale, denoising_end;
  double guidance_rescale = 0, eta = 0;
  std::vector<double> timesteps, sigmas;
  std::vector<int64_t> original_size, target_size, crop, negative_original_size, negative_target_size, negative_crop;
  std::optional<int> clip_skip;
  std::optional<double> true_cfg_scale, strength, denoising_start, aesthetic_score, negative_aesthetic_score;
  std::optional<int> max_sequence_length;
  std::optional<int64_t> max_area;
  std::vector<std::string> image, mask_image;          // files
  std::vector<std::string> video;                      // files or folders
  std::vector<std::string> controlnet, control_image;  // folders, files
  std::vector<double> controlnet_conditioning_scale, control_guidance_start, control_guidance_end;
  bool guess_mode = false;
  std::vector<std::string> loras, embeddings;  // "FILE" or "FILE:WEIGHT", "FILE" or "FILE:TOKEN"
  std::optional<int> padding_mask_crop;
  double mask_blur = 0;
  bool no_auto_resize = false, vae_tiling = false, use_dynamic_cfg = false;
  Task task = Task::text_to_image;  // what the model is opened for, where its pictures come later than with `image` and `mask_image`

  void add(Arguments& app);
  // Those that say how a model is loaded, whatever it draws then; part of add().
  void add_loading(Arguments& app);
  // With the parts of the recipe in its place.
  PictureOptions without_recipe() const;
  // Throws UsageError for a size of 0, which CallOptions takes for "the model's own".
  CallOptions call() const;
  // Whether the model's pipeline makes videos, which is known before it is loaded.
  bool makes_videos() const;
  // The pipeline, with the scheduler and the quantisation that were asked for; as the profile says where one is named.
  DiffusionPipeline load() const;
  // The same, loaded in this way instead.
  DiffusionPipeline load(PretrainedOptions options) const;
};

// `texts`, and the lines of `file` where one is named, as UTF-8.
std::vector<std::string> read_prompts(const std::vector<std::string>& texts, const std::string& file = "");

// "model=... num_inference_steps=... guidance_scale=...": what makes a picture or video of that size again, with prompt and seed. `arguments`: the
// subcommand's, after parsing; `call`: what the pipeline makes of them.
std::string settings_text(const Arguments& arguments, const PictureOptions& o, DiffusionPipeline& pipe, const Call& call, int height, int width);

}  // namespace vivace::cli
