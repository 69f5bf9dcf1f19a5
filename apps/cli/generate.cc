// vivace generate: a prompt becomes a picture.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "commands.h"
#include "progress.h"

namespace vivace::cli {
namespace {

struct Options {
  std::string model, prompt, prompt_flag, output = "vivace.png", dtype = "fp32", variant, scheduler, compile = "off", sdpa = "auto";
  std::vector<std::string> prompt_2, negative_prompt, negative_prompt_2, disable_passes;
  std::vector<double> guidance_scale, denoising_end, timesteps, sigmas;
  std::vector<int64_t> original_size, target_size, crop, negative_original_size, negative_target_size, negative_crop;
  std::vector<int> clip_skip;
  int64_t height = 0, width = 0;
  int steps = 50, images = 1;
  double guidance_rescale = 0, eta = 0;
  uint64_t seed = 0;
  bool has_seed = false, fullgraph = false, exact = false;
};

std::optional<Size> size_of(const std::vector<int64_t>& values) {
  return values.empty() ? std::nullopt : std::optional(Size{values[0], values[1]});
}

CallOptions call_options(const Options& o) {
  CallOptions call;
  if (!o.prompt_2.empty()) call.prompt_2 = Prompts(o.prompt_2);
  if (!o.negative_prompt.empty()) call.negative_prompt = Prompts(o.negative_prompt);
  if (!o.negative_prompt_2.empty()) call.negative_prompt_2 = Prompts(o.negative_prompt_2);
  call.height = o.height;
  call.width = o.width;
  call.num_inference_steps = o.steps;
  call.timesteps = o.timesteps;
  call.sigmas = o.sigmas;
  if (!o.guidance_scale.empty()) call.guidance_scale = o.guidance_scale[0];
  if (!o.denoising_end.empty()) call.denoising_end = o.denoising_end[0];
  call.guidance_rescale = o.guidance_rescale;
  call.eta = o.eta;
  call.num_images_per_prompt = o.images;
  if (o.has_seed) call.seed = o.seed;
  call.original_size = size_of(o.original_size);
  call.target_size = size_of(o.target_size);
  call.negative_original_size = size_of(o.negative_original_size);
  call.negative_target_size = size_of(o.negative_target_size);
  call.crops_coords_top_left = size_of(o.crop).value_or(Size{0, 0});
  call.negative_crops_coords_top_left = size_of(o.negative_crop).value_or(Size{0, 0});
  if (!o.clip_skip.empty()) call.clip_skip = o.clip_skip[0];
  return call;
}

// out.png -> out.png for one picture; out-1.png, out-2.png, ... for several.
std::filesystem::path numbered(const std::filesystem::path& path, size_t i, size_t count) {
  if (count == 1) return path;
  return path.parent_path() / (path.stem().string() + "-" + std::to_string(i + 1) + path.extension().string());
}

// Model, prompt and settings, so that a picture can be made again.
TextChunks describe(const Options& o, const PipelineOutput& out, const std::string& scheduler, double guidance, size_t image) {
  const bool own_seed = out.seeds.size() > image && out.seeds.size() > 1;
  TextChunks text{{"Software", std::string("Vivace ") + VIVACE_VERSION}, {"prompt", o.prompt}, {"seed", std::to_string(out.seeds[own_seed ? image : 0])}};
  if (!o.negative_prompt.empty()) text.emplace_back("negative_prompt", o.negative_prompt[0]);
  text.emplace_back("settings", cat("model=", o.model, " num_inference_steps=", o.steps, " guidance_scale=", guidance, " scheduler=", scheduler, " dtype=", o.dtype,
                                    " compile=", o.compile, " size=", out.images[image].width(), "x", out.images[image].height(), " image=", image));
  return text;
}

void print_timings(const PipelineOutput& out, double loading) {
  double steps = 0;
  for (double s : out.timings.steps) steps += s;
  std::fprintf(stderr, "loading %.3f s, prompt %.3f s, preparing %.3f s, %zu steps %.3f s, decoding %.3f s\n", loading, out.timings.encode_prompt, out.timings.prepare,
               out.timings.steps.size(), steps, out.timings.decode);
}

int run(Options o, const Common& common) {
  if (o.prompt.empty()) o.prompt = o.prompt_flag;
  Image::check_save_path(o.output);
  PretrainedOptions pretrained{.dtype = parse_dtype(o.dtype), .variant = o.variant, .compile = {}};
  pretrained.compile.mode = parse_compile_mode(o.compile);
  pretrained.compile.sdpa = parse_sdp_backend(o.sdpa);
  pretrained.compile.fullgraph = o.fullgraph;
  pretrained.compile.exact = o.exact;
  pretrained.compile.disable_passes = o.disable_passes;
  const auto begin = std::chrono::steady_clock::now();
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(o.model, pretrained);
  const double loading = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!o.scheduler.empty()) pipe.set_scheduler(make_scheduler(o.scheduler, pipe.scheduler().config()));

  CallOptions call = call_options(o);
  std::unique_ptr<Progress> progress;
  call.callback_on_step_end = [&](DiffusionPipeline& p, int, float, StepState&) {
    if (!progress) progress = std::make_unique<Progress>(static_cast<int>(p.scheduler().timesteps().size()), !common.quiet && !common.json);
    progress->step();
    if (interrupted()) throw Interrupted("stopped");
  };
  const PipelineOutput out = pipe(o.prompt, call);
  progress.reset();
  if (interrupted()) throw Interrupted("stopped");
  const double guidance = call.guidance_scale.value_or(pipe.class_name() == "StableDiffusionXLPipeline" ? 5.0 : 7.5);
  nlohmann::json files = nlohmann::json::array();
  for (size_t i = 0; i < out.images.size(); ++i) {
    const auto path = numbered(o.output, i, out.images.size());
    out.images[i].save(path, describe(o, out, pipe.scheduler().class_name(), guidance, i));
    files.push_back(path.string());
    if (!common.quiet && !common.json) std::fprintf(stderr, "%s (seed %llu)\n", path.c_str(), static_cast<unsigned long long>(out.seeds[0]));
  }
  if (common.verbose) print_timings(out, loading);
  if (common.json) {
    const Timings& t = out.timings;
    std::printf("%s\n", nlohmann::json{{"files", files}, {"seeds", out.seeds}, {"seconds", {{"load", loading}, {"encode_prompt", t.encode_prompt}, {"prepare", t.prepare}, {"steps", t.steps}, {"decode", t.decode}, {"total", loading + t.total}}}}.dump(2).c_str());
  }
  return 0;
}

}  // namespace

Body add_generate(CLI::App& app, const Common& common) {
  auto o = std::make_shared<Options>();
  o->model = default_model();
  CLI::App* c = app.add_subcommand("generate", "Make a picture from a prompt");
  c->add_option("text", o->prompt, "The prompt");
  c->add_option("--prompt", o->prompt_flag, "The prompt, as an option");
  c->add_option("--model", o->model, "Checkpoint folder in Diffusers layout")->capture_default_str();
  c->add_option("--output,-o", o->output, "Picture to write: .png, or .npy for float32 [H, W, 3] in 0..1")->capture_default_str();
  c->add_option("--num-inference-steps", o->steps, "Denoising steps")->capture_default_str();
  c->add_option("--guidance-scale", o->guidance_scale, "Classifier-free guidance; 1 or less switches it off")->expected(1);
  c->add_option("--guidance-rescale", o->guidance_rescale, "0 to 1");
  CLI::Option* seed = c->add_option("--seed", o->seed, "torch.Generator(\"cpu\").manual_seed(seed)");
  c->add_option("--negative-prompt", o->negative_prompt, "What the picture should not show")->expected(1);
  c->add_option("--prompt-2", o->prompt_2, "Prompt of the second text encoder")->expected(1);
  c->add_option("--negative-prompt-2", o->negative_prompt_2, "Negative prompt of the second text encoder")->expected(1);
  c->add_option("--height", o->height, "Pixels; default: the model's size");
  c->add_option("--width", o->width, "Pixels; default: the model's size");
  c->add_option("--num-images-per-prompt", o->images, "Pictures")->capture_default_str();
  c->add_option("--dtype", o->dtype, "fp32, bf16 or fp16")->capture_default_str();
  c->add_option("--variant", o->variant, "Weight files of this variant, such as fp16");
  c->add_option("--scheduler", o->scheduler, "Another scheduler: euler, euler_a, ddim, dpmpp_2m, unipc, pndm, heun, lcm, ... or a class name");
  c->add_option("--timesteps", o->timesteps, "Custom timesteps")->delimiter(',');
  c->add_option("--sigmas", o->sigmas, "Custom sigmas")->delimiter(',');
  c->add_option("--denoising-end", o->denoising_end, "Stop after this fraction of the steps")->expected(1);
  c->add_option("--eta", o->eta, "DDIM's eta");
  c->add_option("--clip-skip", o->clip_skip, "Layers of the text encoders to skip")->expected(1);
  c->add_option("--original-size", o->original_size, "Height and width for SDXL's size conditioning")->expected(2);
  c->add_option("--target-size", o->target_size, "Height and width")->expected(2);
  c->add_option("--crops-coords-top-left", o->crop, "Top and left")->expected(2);
  c->add_option("--negative-original-size", o->negative_original_size, "Height and width")->expected(2);
  c->add_option("--negative-target-size", o->negative_target_size, "Height and width")->expected(2);
  c->add_option("--negative-crops-coords-top-left", o->negative_crop, "Top and left")->expected(2);
  c->add_option("--compile", o->compile, "off, default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs")->capture_default_str();
  c->add_flag("--fullgraph", o->fullgraph, "A graph break is an error");
  c->add_flag("--exact", o->exact, "No kernel whose error is above the plain one's");
  c->add_option("--disable-pass", o->disable_passes, "Leave out an optional pass");
  c->add_option("--sdpa", o->sdpa, "Attention backend: auto, flash, efficient, math")->capture_default_str();
  return [o, seed, &common] {
    o->has_seed = seed->count() > 0;
    return run(*o, common);
  };
}

}  // namespace vivace::cli
