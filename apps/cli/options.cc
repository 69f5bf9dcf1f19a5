#include "options.h"

#include <algorithm>
#include <filesystem>
#include <ranges>
#include <utility>

#include "backends/devices.h"
#include "base/cache_folder.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "call_files.h"
#include "commands.h"
#include "pipelines/loaded.h"
#include "pipelines/profile.h"
#include "progress.h"
#include "recipes.h"
#include "scheduler_choice.h"
#include "tune/profile_file.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

std::optional<Size> size_of(const std::vector<int64_t>& values) { return values.empty() ? std::nullopt : std::optional(Size{values[0], values[1]}); }

int64_t given_size(std::optional<int64_t> value, const char* name) {
  if (value && *value <= 0)
    throw UsageError(cat("--", name, " is ", *value, ": expected a positive number of pixels, a multiple of the VAE's scale (8 for SDXL)"));
  return value.value_or(0);
}

// "style.safetensors:0.8": the file, and what stands behind the colon. That is a part of the name where a file is called so.
std::pair<std::string, std::string> file_and_more(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::error_code ignored;
  if (colon == std::string::npos || std::filesystem::exists(text, ignored)) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

// A package and a profile have one of their own.
DType own_dtype(DiffusionPipeline& pipe) { return pipe.model(pipe.models().back()).dtype(); }

void load_adapters(DiffusionPipeline& pipe, const std::vector<std::string>& loras, const std::vector<std::string>& embeddings) {
  std::vector<std::string> names;
  std::vector<double> weights;
  for (const std::string& text : loras) {
    const auto [file, weight] = file_and_more(text);
    weights.push_back(weight.empty() ? 1 : parse_number<double>(weight, cat("the weight of --lora ", text)));
    names.push_back(cat("lora_", names.size()));
    pipe.load_lora_weights(file, names.back());
  }
  if (!names.empty()) pipe.set_adapters(names, weights);
  for (const std::string& text : embeddings) {
    const auto [file, token] = file_and_more(text);
    pipe.load_textual_inversion(file, token);
  }
}

}  // namespace

Option& add_recipe(Arguments& app, std::string& recipe) {
  app.group(Group::speed);
  Option& option = app.add_option("--recipe", recipe, "Dtype, compilation and quantisation that belong together: flux-fast; explain lists its parts");
  for (const Option* other : app.options())
    if (is_part_of_recipe(other->name())) option.excludes(*other);
  return option;
}

void CacheFlags::add(Arguments& app) {
  app.group(Group::memory);
  const Option& none = app.add_flag("--no-cache", off, "Read and keep nothing on disk between runs");
  app.add_option("--cache-dir", folder, "Folder of the cache; default: VIVACE_CACHE_DIR, XDG_CACHE_HOME/vivace or ~/.cache/vivace").excludes(none);
  app.add_option("--cache-size", size, "What the cache may hold, as 500M or 20G; default: VIVACE_CACHE_SIZE or 20G").excludes(none);
}

CacheOptions CacheFlags::options() const {
  CacheOptions options{.enabled = !off, .folder = folder, .max_bytes = std::nullopt};
  if (!size.empty() && !(options.max_bytes = parse_bytes(size)))
    throw UsageError(cat("--cache-size is \"", size, "\": expected bytes, as 500M or 20G"));
  return options;
}

void ModelFlags::add(Arguments& app) {
  app.add_option("--config", config,
                 "Of a model in one file: the folder of its configs, or one of assets/configs by name; default: what fits its tensors");
  if (parts.empty())
    for (const char* name : {"transformer", "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"})
      parts.emplace_back(name, "");
  for (auto& [name, given] : parts) {
    std::string option = "--" + name;
    std::ranges::replace(option, '_', '-');
    app.add_option(option, given,
                   cat("Another ", name, ": its folder", name.starts_with("tokenizer") ? "" : ", or a file of its weights (safetensors, GGUF)"));
  }
}

void ModelFlags::apply(PretrainedOptions& options) const {
  options.config = config;
  for (const auto& [name, given] : parts)
    if (!given.empty()) options.components[name] = given;
}

DiffusionPipeline open_model(const std::string& model, const PretrainedOptions& options) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(model, ignored) ? DiffusionPipeline::from_single_file(model, options)
                                                          : DiffusionPipeline::from_pretrained(model, options);
}

Option& add_setting(Arguments& app, std::string& profile, std::string& dtype, CompileFlags& compile) {
  app.group(Group::speed);
  Option& by_profile = app.add_option("--profile", profile, "Dtype and compilation as in this file, which `vivace tune` wrote");
  app.group(Group::memory);
  Option& own = app.add_option("--dtype", dtype, "fp32, bf16 or fp16").show_default();
  by_profile.excludes(own);
  const size_t before = app.options().size();
  compile.add(app);
  for (const Option* option : app.options() | std::views::drop(before))
    if (option->name() != "--autotune-seconds") by_profile.excludes(*option);
  return own;
}

PretrainedOptions loading_options(const std::string& profile, const std::string& model, const std::string& dtype, const CompileFlags& compile) {
  if (profile.empty()) return {.dtype = parse_dtype(dtype), .compile = compile.options(), .compile_components = compile.named()};
  const Config file = Config::read(profile);  // once: it may be a pipe
  PretrainedOptions options = profile_in(file);
  CompileFlags beside = compile;  // what may be given beside a profile, for its mode
  beside.modes = {compile_mode_name(options.compile.mode)};
  options.compile.autotune_seconds = beside.options().autotune_seconds;
  options.compile.on_autotune = show_autotuning;
  check_profile_model(file, model);
  return options;
}

void PictureOptions::add(Arguments& app) {
  app.group(Group::draw);
  app.add_option("--height", height, "Pixels; default: the model's size, of FLUX and AuraFlow 1024 whatever the model");
  app.add_option("--width", width, "Pixels; default: the model's size, of FLUX and AuraFlow 1024 whatever the model");
  app.add_option("--num-frames", num_frames, "Frames of a video; default: the pipeline's, 49 for CogVideoX");
  app.add_option("--original-size", original_size, "Height and width for SDXL's size conditioning").takes(2);
  app.add_option("--target-size", target_size, "Height and width").takes(2);
  app.add_option("--crops-coords-top-left", crop, "Top and left").takes(2);
  app.add_option("--negative-original-size", negative_original_size, "Height and width").takes(2);
  app.add_option("--negative-target-size", negative_target_size, "Height and width").takes(2);
  app.add_option("--negative-crops-coords-top-left", negative_crop, "Top and left").takes(2);
  app.add_option("--image", image,
                 "A picture to begin with, or to edit: PNG, JPEG, or .npy (float32 [H, W, 3] in 0..1, or latents); given several times, one for each "
                 "image in turns");
  app.add_option(
      "--video", video,
      "CogVideoX: a video to begin with: .mp4, .mov, .mkv, .webm, .avi, .gif, .npy (float32 [F, H, W, 3] in 0..1), or a folder of its frames "
      "as PNG or JPEG; given several times, one for each video in turns");
  app.add_option("--mask-image", mask_image, "With --image: what is white in this picture is repainted");
  app.add_option("--mask-blur", mask_blur, "Blur the mask with this radius first");
  app.add_option("--padding-mask-crop", padding_mask_crop,
                 "With --mask-image: make the mask's surroundings alone, so many pixels more, at the model's size");
  app.add_option(
      "--strength", strength,
      "With --image or --video: how much of the schedule is left for it, 0 to 1; default: the pipeline's, 0.3 for SDXL, with a mask 0.9999");
  app.add_option("--control-image", control_image, "The picture that a ControlNet reads; one for each --controlnet");
  app.add_option("--aesthetic-score", aesthetic_score, "SDXL's refiner: a score of the picture; default 6");
  app.add_option("--negative-aesthetic-score", negative_aesthetic_score, "SDXL's refiner; default 2.5");
  app.add_option("--max-area", max_area, "Kontext: pixels of the result, whose shape alone --height and --width say; default 1048576");
  app.add_flag("--no-auto-resize", no_auto_resize, "Kontext: read the picture in its own size");
  app.group(Group::model);
  model = default_model();
  app.add_option("--model", model, "Checkpoint: a folder in Diffusers layout, one file (safetensors, GGUF), or a package that vivace export wrote")
      .show_default();
  files.add(app);
  app.add_option("--controlnet", controlnet, "Folder of a ControlNet, which reads --control-image; may be given several times");
  app.add_option("--clip-skip", clip_skip, "Layers of the text encoders to skip");
  app.add_option("--max-sequence-length", max_sequence_length,
                 "Tokens of a prompt for T5, 512 at most for FLUX; default 512 (FLUX), 256 (AuraFlow), 226 (CogVideoX)");
  app.group(Group::sampling);
  app.add_option("--num-inference-steps", steps, "Denoising steps; default: the pipeline's, 50 for SDXL");
  app.add_option("--guidance-scale", guidance_scale, "Classifier-free guidance; default: the pipeline's, 5 for SDXL; 1 or less switches it off");
  app.add_flag("--use-dynamic-cfg", use_dynamic_cfg, "CogVideoX: a guidance that follows the step");
  app.add_option("--true-cfg-scale", true_cfg_scale, "FLUX: guidance by a negative prompt; above 1 it is on");
  app.add_option("--guidance-rescale", guidance_rescale, "0 to 1");
  app.add_option("--timesteps", timesteps, "Custom timesteps, as 999,749,499");
  app.add_option("--sigmas", sigmas, "Custom sigmas, as 14.6,2.9,0");
  app.add_option("--original-inference-steps", original_inference_steps, "LCM: steps of the schedule that it was distilled on; default 50");
  app.add_option("--controlnet-conditioning-scale", controlnet_conditioning_scale,
                 "How much the ControlNets count; one number, or one for each, as 1,0.5");
  app.add_option("--control-guidance-start", control_guidance_start, "Fraction of the steps at which ControlNets begin to count; likewise");
  app.add_option("--control-guidance-end", control_guidance_end, "Fraction of the steps at which they end; likewise");
  app.add_flag("--guess-mode", guess_mode, "ControlNets guide without a prompt: they change the positive prediction alone");
  app.add_option("--denoising-start", denoising_start, "With --image: start at this fraction of the steps, without adding noise");
  app.add_option("--denoising-end", denoising_end, "Stop after this fraction of the steps");
  app.add_option("--eta", eta, "DDIM's and TCD's eta, 0 to 1");
  add_loading(app);
}

void PictureOptions::add_loading(Arguments& app) {
  app.group(Group::model);
  app.add_option("--device", device, "What to run on: cpu, cuda or cuda:N").show_default();
  app.add_option("--variant", variant, "Weight files of this variant, such as fp16");
  app.add_option("--lora", loras, "An adapter over the model's weights, FILE or FILE:WEIGHT; several add up");
  app.add_option("--textual-inversion", embeddings, "Embeddings of a token that prompts may use, FILE or FILE:TOKEN");
  app.group(Group::sampling);
  app.add_option("--scheduler", scheduler,
                 "Another scheduler: euler, euler_a, ddim, dpmpp_2m, dpmpp_sde, unipc, heun, lcm, tcd, ... or a class name");
  app.add_option("--scheduler-config", scheduler_config,
                 "Fields of the scheduler's config, as keyword arguments of from_config: a JSON object, such as "
                 "'{\"use_karras_sigmas\": true, \"timestep_spacing\": \"trailing\"}'");
  app.group(Group::memory);
  app.add_flag("--vae-tiling", vae_tiling, "Encode and decode pictures that are larger than the VAE was trained on in tiles");
  dtype_option = &add_setting(app, profile, dtype, compile);
  app.group(Group::memory);
  app.add_option("--offload", offload,
                 "Give a component's prepared weights back: auto, where the next one has no room beside them; model, always, as "
                 "enable_model_cpu_offload; none. On a GPU weights that have no room at all wait in the host's memory and are copied layer by layer "
                 "(auto); sequential: all of them, as enable_sequential_cpu_offload")
      .show_default();
  app.add_option("--max-memory", max_memory, "What weights and activations may take at a time, as 500M or 16G; default: what the machine has left");
  add_recipe(app, recipe).excludes(app.option("--profile"));
}

CallOptions PictureOptions::call() const {
  CallOptions call;
  call.height = given_size(height, "height");
  call.width = given_size(width, "width");
  call.num_inference_steps = steps;
  call.num_frames = num_frames;
  call.use_dynamic_cfg = use_dynamic_cfg;
  call.timesteps = timesteps;
  call.sigmas = sigmas;
  call.original_inference_steps = original_inference_steps;
  call.guidance_scale = guidance_scale;
  call.denoising_end = denoising_end;
  call.guidance_rescale = guidance_rescale;
  call.eta = eta;
  call.original_size = size_of(original_size);
  call.target_size = size_of(target_size);
  call.negative_original_size = size_of(negative_original_size);
  call.negative_target_size = size_of(negative_target_size);
  call.crops_coords_top_left = size_of(crop).value_or(Size{0, 0});
  call.negative_crops_coords_top_left = size_of(negative_crop).value_or(Size{0, 0});
  call.clip_skip = clip_skip;
  call.true_cfg_scale = true_cfg_scale;
  call.max_sequence_length = max_sequence_length;
  call.strength = strength;
  call.denoising_start = denoising_start;
  call.padding_mask_crop = padding_mask_crop;
  call.aesthetic_score = aesthetic_score;
  call.negative_aesthetic_score = negative_aesthetic_score;
  call.max_area = max_area;
  call.auto_resize = !no_auto_resize;
  call.image = load_image_input(image);
  for (const std::string& file : video) call.video.push_back(Video::load(file));
  for (const std::string& file : mask_image)
    call.mask_image.images.push_back(mask_blur == 0 ? Image::load(file) : Image::load(file).blurred(mask_blur));
  for (const std::string& file : control_image) call.control_image.push_back(load_image_input({file}));
  call.controlnet_conditioning_scale = controlnet_conditioning_scale;
  call.control_guidance_start = control_guidance_start;
  call.control_guidance_end = control_guidance_end;
  call.guess_mode = guess_mode;
  const auto need = [](bool given, const char* option, bool there, const char* needed) {
    if (given && !there) throw UsageError(cat(option, " needs ", needed));
  };
  need(!mask_image.empty(), "--mask-image", !image.empty(), "--image, the picture that is repainted");
  need(mask_blur != 0, "--mask-blur", !mask_image.empty(), "--mask-image");
  need(padding_mask_crop.has_value(), "--padding-mask-crop", !mask_image.empty(), "--mask-image");
  need(strength.has_value(), "--strength", !image.empty() || !video.empty(), "--image or --video, which it is about");
  need(denoising_start.has_value(), "--denoising-start", !image.empty(), "--image, what an earlier call left");
  return call;
}

bool PictureOptions::makes_videos() const {
  PretrainedOptions options;
  files.apply(options);
  const std::string name = class_for(model, options, Task::text_to_image);
  return std::ranges::any_of(families(), [&](const Family& family) { return family.videos && family.class_name == name; });
}

PictureOptions PictureOptions::without_recipe() const {
  PictureOptions own = *this;
  if (!recipe.empty()) apply_recipe(std::exchange(own.recipe, ""), open_device(device)->target(), own.compile, own.dtype);
  return own;
}

DiffusionPipeline PictureOptions::load() const {
  if (!recipe.empty()) return without_recipe().load();
  PretrainedOptions options = loading_options(profile, model, dtype, compile);
  options.variant = variant;
  DiffusionPipeline pipe = load(options);
  // float32 is what the library takes for any: a package in another dtype runs in its own.
  if (const DType own = own_dtype(pipe); dtype_option && dtype_option->given() && options.dtype == float32 && own != float32)
    throw UsageError(cat("--dtype ", dtype, ": the package computes in ", dtype_name(own), ": export it with that dtype"));
  // A server has no picture of a request yet, whether it opens the model for one or the model's own class begins with one.
  const bool later = task != Task::text_to_image || (pipe.loaded().family->task != Task::text_to_image && image.empty() && video.empty());
  compile.apply(pipe, later ? pipe.loaded().recipe->blank_call({}) : call());
  return pipe;
}

DiffusionPipeline PictureOptions::load(PretrainedOptions options) const {
  options.cache = cache.options();
  options.scheduler = scheduler;
  options.device = device;
  options.offload = parse_offload(offload);
  if (const auto bytes = max_memory.empty() ? std::optional<uint64_t>(0) : parse_bytes(max_memory))
    options.max_memory = *bytes;
  else
    throw UsageError(cat("--max-memory is \"", max_memory, "\": expected bytes, as 500M or 16G"));
  files.apply(options);
  const nlohmann::json fields = scheduler_fields(scheduler_config);
  options.controlnet.assign(controlnet.begin(), controlnet.end());
  const Task wanted = !video.empty() ? Task::video_to_video : image.empty() ? task : mask_image.empty() ? Task::image_to_image : Task::inpainting;
  if (wanted != Task::text_to_image) options.pipeline_class = class_for(model, options, wanted);
  DiffusionPipeline pipe = open_model(model, options);
  if (!fields.empty()) pipe.set_scheduler(with_fields(pipe.scheduler(), fields));
  if (vae_tiling) pipe.enable_vae_tiling();
  load_adapters(pipe, loras, embeddings);
  return pipe;
}

std::string default_model() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / "share" / "vivace" / "emoji-xl";
  return std::filesystem::is_directory(installed, ignored) ? installed.string() : VIVACE_DEFAULT_MODEL;
}

std::vector<std::string> read_prompts(const std::vector<std::string>& texts, const std::string& file) {
  std::vector<std::string> prompts = texts;
  if (!file.empty()) {
    const std::vector<std::string> lines = read_lines(file);
    if (lines.empty()) throw UserError(cat(file, ": no prompts: expected one a line"));
    prompts.insert(prompts.end(), lines.begin(), lines.end());
  }
  for (std::string& prompt : prompts) {
    std::string valid = to_valid_utf8(prompt);
    if (valid != prompt) warn("the prompt ", in_quotes(prompt), " is not UTF-8: what is not is read as U+FFFD");
    prompt = std::move(valid);
  }
  return prompts;
}

std::string settings_text(const Arguments& arguments, const PictureOptions& o, DiffusionPipeline& pipe, const Call& call, int height, int width) {
  const DType own = own_dtype(pipe);
  const std::string dtype = own == parse_dtype(o.dtype) ? o.dtype : std::string(dtype_name(own));
  const std::optional<int> steps = pipe.loaded().recipe->num_inference_steps(call);  // none where timesteps or sigmas were given
  std::string text =
      cat("model=", o.model, steps ? cat(" num_inference_steps=", *steps) : "", " guidance_scale=", call.guidance_scale,
          " scheduler=", o.scheduler.empty() ? pipe.scheduler().class_name() : o.scheduler,
          o.scheduler_config.empty() ? "" : cat(" scheduler_config=", json_text(scheduler_fields(o.scheduler_config))), " dtype=", dtype,
          " height=", height, " width=", width, pipe.loaded().family->videos ? cat(" num_frames=", *call.options.num_frames) : "");
  // The rest as it was given.
  for (const Option* option : arguments.options()) {
    if (option->is_text() || !option->given()) continue;
    std::string key = option->name().substr(2), value;
    std::ranges::replace(key, '-', '_');
    static constexpr const char* kElsewhere[] = {"model",    "prompt",    "prompt_2",   "negative_prompt", "negative_prompt_2", "seed",    "output",
                                                 "no_cache", "cache_dir", "cache_size", "offload",         "max_memory",        "parallel"};
    if (text.find(' ' + key + '=') != std::string::npos || std::ranges::count(kElsewhere, key)) continue;
    if (key == "num_inference_steps" && !steps) continue;
    for (const std::string& part : option->values()) value += (value.empty() ? "" : ",") + part;
    text += ' ' + key + '=' + value;
  }
  return text;
}

}  // namespace vivace::cli
