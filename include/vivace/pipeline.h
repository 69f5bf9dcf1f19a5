// Pictures and videos from texts and pictures. Names, arguments and defaults are those of Diffusers' pipeline of the same name.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vivace/api.h"
#include "vivace/generator.h"
#include "vivace/image.h"
#include "vivace/models.h"
#include "vivace/scheduler.h"
#include "vivace/video.h"

namespace vivace VIVACE_API {

class DiffusionPipeline;

// What can be compiled on its own, in any pipeline: "unet", "vae", "vae.decode", "vae.encode", "text_encoder", ...
const std::vector<std::string>& component_names();

// One prompt or a batch of them.
struct Prompts : std::vector<std::string> {
  Prompts() = default;
  Prompts(const char* one) : std::vector<std::string>{one} {}
  Prompts(std::string one) : std::vector<std::string>{std::move(one)} {}
  Prompts(std::vector<std::string> several) : std::vector<std::string>(std::move(several)) {}
  Prompts(std::initializer_list<std::string> several) : std::vector<std::string>(several) {}
};

using Size = std::pair<int64_t, int64_t>;  // height, width

// Pictures that a call is given: one, several of one size, or latents in their place. As many as images, or so many that the images are a multiple;
// then they are taken in turns.
struct ImageInput {
  ImageInput() = default;
  ImageInput(Image one) : images{std::move(one)} {}
  ImageInput(std::vector<Image> several) : images(std::move(several)) {}
  ImageInput(Tensor latents) : latents(std::move(latents)) {}

  std::vector<Image> images;
  Tensor latents;  // float32 [N, C, h, w] as the denoiser sees them: scaled

  bool empty() const { return images.empty() && !latents.defined(); }
  int64_t count() const { return !latents.defined() ? static_cast<int64_t>(images.size()) : latents.rank() > 0 ? latents.dim(0) : 0; }
};

// What callback_on_step_end may look at and change.
struct StepState {
  Tensor latents;  // float32 [N, C, h, w], of videos [N, F, C, h, w]; assigning it replaces the run's. None where no tensor inputs are asked for
  bool interrupt = false;  // true: no further steps; the picture so far is decoded
  int num_timesteps = 0;   // steps of this run
  double seconds = 0;      // what the last step took that is done
  // The latents as they are now, for one that wants them after some steps alone. Where they lie on a device this waits for it.
  std::function<Tensor()> look = nullptr;
};
using StepCallback = std::function<void(const DiffusionPipeline& pipe, int step, float timestep, StepState& state)>;

// What callback_on_frames is told.
struct DecodedFrames {
  int video = 0, first = 0;  // which of the call's videos, and the place of `frames` in it
  int num_frames = 0;        // that the video will have
  Video frames;
};

// The arguments of all pipelines. One that the pipeline at hand does not take is a UsageError that names it.
struct CallOptions {
  Prompts prompt_2;  // for the second text encoder; default: prompt
  std::optional<Prompts> negative_prompt, negative_prompt_2;
  int64_t height = 0, width = 0;           // image pixels, multiples of the VAE's scale; 0: the model's own size
  std::optional<int> num_inference_steps;  // default: the class's, 50 but for LatentConsistencyModelPipeline's 4
  std::vector<double> timesteps, sigmas;   // custom ones instead of num_inference_steps
  // Fractions of the schedule: a call ends at the one, which the next (of a refiner) starts at, with the first one's latents as its image. 0 to 1; an
  // end of 0 or 1 is the schedule's own.
  std::optional<double> denoising_end, denoising_start;
  std::optional<double> guidance_scale;  // default: the class's, 5 (SDXL), 7.5 (Stable Diffusion), ...; above 1 guidance is on
  double guidance_rescale = 0;
  int num_images_per_prompt = 1;       // of videos Diffusers' num_videos_per_prompt
  std::optional<int> num_frames;       // of a video; default: the class's, as many as the model was made for, and 49 from a picture
  bool use_dynamic_cfg = false;        // CogVideoX: the guidance follows the step
  double eta = 0;                      // DDIM
  std::optional<uint64_t> seed;        // Generator("cpu").manual_seed(seed); default: a random one, told in the output
  std::vector<uint64_t> seeds;         // one an image instead
  std::vector<Generator*> generators;  // one, or one an image, instead of a seed; they go on from where they are
  Tensor latents;                      // float32 of unit variance in the pipeline's shape, [N, C, h, w], instead of drawn ones
  // Encoded prompts, as the text encoders give them, instead of texts: [prompts, tokens, width], pooled ones [prompts, width].
  Tensor prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds;
  std::optional<int> original_inference_steps;  // of the schedule that an LCM was distilled on
  std::optional<Size> original_size, target_size, negative_original_size, negative_target_size;
  Size crops_coords_top_left{0, 0}, negative_crops_coords_top_left{0, 0};
  std::optional<int> clip_skip;
  std::optional<double> true_cfg_scale;    // FLUX: guidance by a negative prompt, beside the one that the model was distilled with; above 1 it is on
  std::optional<int> max_sequence_length;  // tokens of a prompt for T5; default: the class's, 512 (FLUX), 256 (AuraFlow) or 226 (CogVideoX)
  ImageInput image;                        // the picture to begin with, or to edit
  // CogVideoXVideoToVideoPipeline: what it begins with, one video, or so many of one length that the call's videos are a multiple; then in turns.
  std::vector<Video> video;
  std::optional<double> strength;  // 0 to 1: how much of the schedule is left for `image` or `video`; default: the class's, 0.3 (SDXL), 0.8, ...
  ImageInput mask_image;           // inpainting: white is repainted, black is kept; of any size
  Tensor masked_image_latents;     // what is left of `image` outside of the mask, encoded, instead of encoding it
  std::optional<int> padding_mask_crop;  // only the mask's surroundings, so many pixels more, are made, at the model's size
  std::optional<double> aesthetic_score, negative_aesthetic_score;  // of the picture, for SDXL's refiner; default 6 and 2.5
  std::vector<ImageInput> control_image;  // a picture, or several, for each ControlNet (Diffusers' `image` of text to image)
  // One for all ControlNets, or one for each: how much it counts, and from where to where in the schedule (0 to 1).
  std::vector<double> controlnet_conditioning_scale, control_guidance_start, control_guidance_end;
  bool guess_mode = false;          // ControlNets guide without a prompt: they see and change the positive prediction alone, less where it is shallow
  std::optional<int64_t> max_area;  // Kontext: pixels of the result, whatever height and width; default 1024 x 1024
  bool auto_resize = true;          // Kontext: the picture gets the preferred size of the most similar shape
  bool output_latent = false;       // output_type="latent": no decoding
  StepCallback callback_on_step_end;
  // "latents", or nothing for a callback that only counts steps: a device then goes on while it is called, two steps behind at most.
  std::vector<std::string> callback_on_step_end_tensor_inputs{"latents"};
  // Told the frames of each video as they are decoded; with tiles they come all at once.
  std::function<void(const DecodedFrames& decoded)> callback_on_frames;
  // Asked to stop, the call ends with Interrupted: before the next kernel of a step, of a text encoder or of the decoder, of what prepares weights,
  // or before autotuning's next timing.
  std::stop_token stop;
};

// Seconds.
struct Timings {
  double encode_prompt = 0, prepare = 0, decode = 0, total = 0;
  std::vector<double> steps;
};

// What a call made the runtime do.
struct CallCounters {
  int64_t plans_compiled = 0, plans_resized = 0, guards_failed = 0;
  // In the denoising loop after its first step: 0 but for noise that is drawn and tensors that a callback keeps.
  int64_t loop_allocations = 0, loop_host_device_syncs = 0;
  // Why each step waits for the device; empty where none does.
  std::string loop_break = {};
  int64_t parts_given_back = 0;  // components whose weights went so that others have room
};

struct PipelineOutput {
  std::vector<Image> images;  // empty with output_latent
  std::vector<Video> frames;  // of a pipeline that makes videos, which makes no images
  Tensor latents;             // float32 [N, C, h, w] or [N, F, C, h, w], as the loop left them
  std::vector<uint64_t> seeds;
  Timings timings;
  CallCounters counters;
};

// When a component's prepared weights, and what its activations took, are given back: before a stage of a call (encoding prompts, denoising,
// decoding) for which there is no room beside them (automatic), as soon as another stage begins (model: Diffusers' enable_model_cpu_offload), or
// never. What was given back is prepared again, or found in the cache, when it is next called.
//
// On a device with a memory of its own weights may also wait in the host's, pinned, and be copied while the layers before theirs compute: those that
// a single component has no room for (automatic), or all (sequential: Diffusers' enable_sequential_cpu_offload, which else is as model).
enum class Offload { automatic, model, sequential, none };
// "auto", "model", "sequential", "none". Throws UsageError for another name.
Offload parse_offload(const std::string& name);

struct PretrainedOptions {
  DType dtype = float32;
  std::string variant;
  CompileOptions compile;  // for the denoiser and the VAE
  // For single components instead, by name: see component_names().
  std::map<std::string, CompileOptions> compile_components;
  CacheOptions cache;
  size_t idle_bytes = ModelOptions{}.idle_bytes;  // of each component
  std::string device = "cpu";                     // what all components run on: "cpu", "cuda", "cuda:1"
  Offload offload = Offload::automatic;
  // What weights and activations may take at a time, in bytes; 0: what the machine has left. A call that does not fit is a UserError that says what
  // would, before anything is loaded.
  size_t max_memory = 0;
  // Parts that do not come from the checkpoint, by their names: folders, of models files too ("vae", "text_encoder_2", "tokenizer_2").
  std::map<std::string, std::filesystem::path> components;
  // Of a checkpoint in one file: the folder of its configs, or the name of one that comes with Vivace; default: the one that fits its tensors.
  std::filesystem::path config;
  // The class to open the checkpoint as, of those that the same parts make: "StableDiffusionXLInpaintPipeline" of one that says
  // "StableDiffusionXLPipeline"; default: the class of model_index.json.
  std::string pipeline_class;
  // Folders of ControlNets, which make of a pipeline the class with them: StableDiffusionXLControlNetPipeline, ...
  std::vector<std::filesystem::path> controlnet;
  // Another scheduler, by a name that make_scheduler knows, with the config of the checkpoint's own; that one may then be of a class that is not
  // supported.
  std::string scheduler;
};

class DiffusionPipeline {
 public:
  // A checkpoint in Diffusers layout; the class follows from model_index.json. Throws UserError naming what is missing or wrong.
  static DiffusionPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  // A checkpoint in one file, safetensors or GGUF, in the names of the program that wrote it or Diffusers'; which model it is follows from its
  // tensors. What it lacks, as files of FLUX do their text encoders, is named by options.components. Throws UserError naming what that is.
  static DiffusionPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});
  DiffusionPipeline(DiffusionPipeline&&) noexcept;
  DiffusionPipeline& operator=(DiffusionPipeline&&) noexcept;
  ~DiffusionPipeline();

  // Throws UsageError for arguments out of range, Interrupted when options.stop was asked to stop or a callback threw it.
  // Several threads may call it at once, and each gets the picture that it would get alone: denoising steps take turns on the pool of threads.
  // Whatever is not const is for when no call is under way.
  PipelineOutput operator()(const Prompts& prompt, const CallOptions& options = {}) const;

  const std::string& class_name() const;
  // Whether it makes videos, PipelineOutput::frames, instead of pictures.
  bool makes_videos() const;
  // The models by their names in model_index.json, and those names. Throws UsageError for one that the checkpoint lacks.
  Model& model(const std::string& name);
  std::vector<std::string> models() const;
  // The same with their classes: UsageError where the checkpoint has none, or one of another class.
  UNet2DConditionModel& unet();
  Model& transformer();
  Autoencoder& vae();
  CLIPTextModel& text_encoder();
  CLIPTextModel& text_encoder_2();
  // Compiles components from the next call on; without names the denoiser and the VAE. Throws UsageError for a name that is none or that the
  // checkpoint lacks.
  void compile(const CompileOptions& options, const std::vector<std::string>& components = {});
  Scheduler& scheduler();
  const Scheduler& scheduler() const;
  // One that the models were not trained for is noticed by the next call: a UsageError that names those that they take where the class cannot run
  // with it (DDIM with FLUX), otherwise a warning.
  void set_scheduler(std::unique_ptr<Scheduler> scheduler);
  // Model::to of every model.
  DiffusionPipeline& to(const std::string& device);
  // Model::fuse_qkv_projections of the denoiser (Diffusers' argument unet) and the VAE, or of one.
  void fuse_qkv_projections(bool unet = true, bool vae = true);
  void unfuse_qkv_projections(bool unet = true, bool vae = true);
  // Autoencoder::enable_tiling and so on of the VAE.
  void enable_vae_tiling();
  void disable_vae_tiling();
  // Offload::model from the next call on.
  void enable_model_cpu_offload();
  // Offload::sequential likewise.
  void enable_sequential_cpu_offload();

  // Adapters over the denoiser's and the text encoders' weights: LoRA (also of convolutions, with DoRA), LoHa and LoKr, a .safetensors file or a
  // folder with pytorch_lora_weights.safetensors, in the names of PEFT, Diffusers, kohya, Black Forest Labs, x-flux, ai-toolkit or ComfyUI.
  //
  // The one that was loaded last is active, with weight 1; without a name it gets one. What the file has for no module of the model is a warning, a
  // file of which nothing matches, or of which a shape does not, a UserError. With `hotswap` it takes the place of the adapter of that name.
  void load_lora_weights(const std::filesystem::path& path, const std::string& adapter_name = "", bool hotswap = false);
  // These are active, with these weights (1 each, where none are given), and no others. Only the layers that an adapter touches are prepared again,
  // and none is compiled where only weights change.
  void set_adapters(const std::vector<std::string>& names, const std::vector<double>& weights = {});
  std::vector<std::string> get_active_adapters() const;
  std::vector<std::string> get_list_adapters() const;  // in the order they were loaded
  void delete_adapters(const std::vector<std::string>& names);
  // The active adapters, or those named, are a part of the model until unfuse_lora(), whatever is active, and beyond where they are unloaded.
  void fuse_lora(double lora_scale = 1, const std::vector<std::string>& adapter_names = {});
  void unfuse_lora();
  void unload_lora_weights();
  // Before the first adapter: LoRAs up to that rank then take each other's place (`hotswap`) without anything being compiled.
  void enable_lora_hotswap(int64_t target_rank = 128);

  // Textual inversion: a token with embeddings of its own, as Diffusers (learned_embeds.safetensors), A1111 (emb_params) and trainers for SDXL
  // (clip_l, clip_g) write them. Without a token it is called as in the file, or as the file.
  void load_textual_inversion(const std::filesystem::path& path, const std::string& token = "");
  // These, or all.
  void unload_textual_inversion(const std::vector<std::string>& tokens = {});
  // Token ids [N, T] of a prompt by tokenizer 1 or 2.
  Tensor tokenize(const Prompts& prompt, int tokenizer = 1) const;
  // Height and width of a picture when none is asked for.
  Size default_size() const;

  struct Loaded;  // the inside of a pipeline
  Loaded& loaded();

 protected:
  explicit DiffusionPipeline(std::unique_ptr<Loaded> loaded);
  DiffusionPipeline(const std::filesystem::path& path, const PretrainedOptions& options);

 private:
  std::unique_ptr<Loaded> loaded_;
};

}  // namespace VIVACE_API
