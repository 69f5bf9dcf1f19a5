// Family: a pipeline class of Diffusers. Its parts, and the recipe that makes pictures of them.
// A family is a folder here and a line in families.cc; the loop, loading, export and the tools know families by what stands in this header.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "components/model_classes.h"
#include "families/common/noise.h"
#include "families/parts.h"
#include "families/predictor.h"
#include "vivace/pipeline.h"

namespace vivace {

class Communicator;  // runtime/communicator.h
class Config;

// A row of a family's part table.
struct PartSpec {
  std::string_view name;                  // the folder, and the entry of model_index.json: "unet"
  std::vector<std::string_view> classes;  // of which it may be; empty: any scheduler
  bool optional = false;
  bool hot = false;         // takes most of the time: what compile() takes where no component is named
  bool controlnet = false;  // one of PretrainedOptions::controlnet, where there are any
};

// A call with every default filled in.
struct Call {
  CallOptions options;
  Prompts prompt;                 // empty where options.prompt_embeds is given
  int64_t prompts = 1;            // texts, or rows of prompt_embeds
  int64_t images = 1;             // of all prompts; or videos
  int64_t height = 0, width = 0;  // of a picture
  int64_t frames = 1;             // that each is decoded to, where it is a video
  double guidance_scale = 1;
  bool guidance = false;  // there is a negative prompt, and a prediction for it
  // Of guidance's two predictions each makes one, the first the negative prompt's; none: both are made here.
  std::shared_ptr<Communicator> ranks = nullptr;
  int64_t timesteps = 1;  // that the loop takes
  int64_t rows = 1;       // of the timesteps' table of a plan: as many, or more
  int64_t images_in = 0;  // pictures that are encoded first

  // What the denoiser makes here in a step.
  int64_t predictions() const { return guidance && !ranks ? 2 * images : images; }
};

// What the denoiser is told beside latents and timestep, by the names of its inputs; a row an image. Negative: the same for the negative prompt.
struct Conditioning {
  std::map<std::string, Tensor> positive, negative;
  std::map<std::string, Tensor> shared;  // what has no row an image
  Tensor beside;                         // [images, C, h, w]: channels behind those of the latents, or none
};

// What a call makes of its latents: pictures, or videos.
struct Pictures {
  std::vector<Image> images;
  std::vector<Video> frames;
};

// Where the loop starts, and what keeps it to a picture.
struct Start {
  Tensor latents;  // at the noise level of the first step, in the shape of the loop
  Kept kept;       // of a mask, which a callback sees done
};

// What a class begins with.
enum class Task : uint8_t { text_to_image, image_to_image, inpainting, video_to_video };

enum class Stage : uint8_t { encode, denoise, decode };
// A session that a call takes.
struct SessionNeed {
  std::string_view part;
  GraphRequest request;
  Stage stage;
};

// The timesteps of a schedule that a call takes.
struct StepRange {
  int first = 0, last = 0;
};

// What a family makes of its parts. Immutable: several requests may call it at once.
class Recipe {
 public:
  virtual ~Recipe() = default;
  // Height and width of a picture when none is asked for.
  virtual Size default_size() const = 0;
  // What a call of this size (0: the model's own) is given beside a prompt, a blank picture where it begins with one: for tools that look at plans.
  virtual CallOptions blank_call(Size size) const { return {.height = size.first, .width = size.second}; }
  // Says that the call's pictures are to have this size, whatever stands for it in the class: height and width, or the size of the picture that it
  // begins with, which is resized.
  virtual void set_size(CallOptions& call, Size size) const { std::tie(call.height, call.width) = size; }
  // Fills every default in. Every UsageError of a call is from here: an argument that the family does not take, one out of range.
  virtual Call resolve(const Prompts& prompt, const CallOptions& options) const = 0;
  // All sessions that the call takes: its own, those of export and of the tools, and the memory that is planned.
  virtual std::vector<SessionNeed> sessions_for(const Call& call) const = 0;
  virtual SchedulerTimesteps timesteps(const Call& call) const = 0;
  // Of the call or the class; none where timesteps or sigmas are given in their place.
  virtual std::optional<int> num_inference_steps(const Call& call) const { return timesteps(call).num_inference_steps; }
  // All of the scheduler's, which are set, unless the call begins later or ends earlier. UsageError where a picture leaves it none.
  virtual StepRange steps(const Call& call, const Scheduler& scheduler) const;
  virtual Conditioning encode(const Call& call, Request& request) const = 0;
  // The latents at the noise level of the first step, in the shape of the loop. Throws UsageError for given ones of another shape.
  virtual Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const = 0;
  // The same, of a picture where the call has one, which is encoded here; what is drawn with the latents is added to `conditioning`. `scheduler`
  // outlives the start.
  virtual Start start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
                      Request& request) const;
  // The scheduler's timesteps are set. `request` outlives the predictor.
  virtual std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                               Request& request) const = 0;
  virtual Pictures decode(const Call& call, const Tensor& latents, Request& request) const = 0;
  // Frames a second that a video is made for.
  virtual double fps() const { return 8; }
};

struct Family {
  std::string_view class_name;  // "StableDiffusionXLPipeline"
  std::vector<PartSpec> parts;
  // `parts` are open and outlive the recipe; `index` is model_index.json. Throws UserError where the parts do not fit one another, naming both
  // folders.
  std::unique_ptr<Recipe> (*open)(const Parts& parts, const Config& index) = nullptr;
  // Fields of the checkpoint's scheduler config that the class sets right, as JSON; nullptr: none.
  std::string (*scheduler_corrections)(const std::string& config) = nullptr;
  std::vector<ModelClass> models;  // beside those of components/model_classes.h
  // Classes that the same parts make, one a task, are of one model: "stable-diffusion-xl". Empty: no other class.
  std::string_view model = {};
  Task task = Task::text_to_image;
  bool controlled = false;  // by ControlNets
  bool videos = false;      // what it makes, instead of pictures
};

// The part that denoises: the first of the hot ones.
inline std::string_view denoiser_of(const Family& family) { return std::ranges::find(family.parts, true, &PartSpec::hot)->name; }

// In families.cc, a line each.
std::span<const Family> families();

}  // namespace vivace
