// vivace generate: prompts become pictures.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>

#include "base/files.h"
#include "base/joined.h"
#include "base/log.h"
#include "base/seconds.h"
#include "call_files.h"
#include "commands.h"
#include "few_steps.h"
#include "guidance_pairs.h"
#include "interrupt.h"
#include "memory_report.h"
#include "options.h"
#include "output.h"
#include "parallel.h"
#include "pipelines/loaded.h"
#include "progress.h"
#include "runtime/request.h"
#include "tensor/npy.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

struct GenerateFlags : PictureOptions {
  std::vector<std::string> text, prompt, prompt_2, negative_prompt, negative_prompt_2;
  TensorFiles tensors;
  ParallelFlags parallel;
  std::optional<std::string> output, preview;
  std::vector<uint64_t> seed;
  std::string generator_device = "cpu";
  int images = 1;
  std::optional<double> fps;
};

double sum(const std::vector<double>& values) {
  double total = 0;
  for (double v : values) total += v;
  return total;
}

// out.png -> out.png for one picture; out-1.png, out-2.png, ... for several.
std::filesystem::path numbered(const std::filesystem::path& path, size_t i, size_t count) {
  if (count == 1) return path;
  return path.parent_path() / (path.stem().string() + "-" + std::to_string(i + 1) + path.extension().string());
}

uint64_t seed_of(const PipelineOutput& out, size_t image) { return out.seeds[out.seeds.size() > 1 ? image : 0]; }

// Model, prompt and settings, so that a picture can be made again.
TextChunks describe(const Arguments& app, const GenerateFlags& o, DiffusionPipeline& pipe, const Call& call, const PipelineOutput& out, size_t image,
                    const PictureNumbers& numbers) {
  const size_t prompt = image / static_cast<size_t>(o.images);
  TextChunks text{{"Software", std::string("Vivace ") + VIVACE_VERSION}, {"seed", cat(seed_of(out, image))}};
  if (!call.prompt.empty()) text.emplace_back("prompt", call.prompt[prompt]);
  // One for all prompts, or one each.
  const auto add = [&](const char* name, const std::optional<Prompts>& given) {
    if (given && !given->empty()) text.emplace_back(name, (*given)[given->size() > 1 ? prompt : 0]);
  };
  add("prompt_2", call.options.prompt_2);
  add("negative_prompt", call.options.negative_prompt);
  add("negative_prompt_2", call.options.negative_prompt_2);
  const auto [height, width] = out.frames.empty() ? std::pair(out.images[image].height(), out.images[image].width())
                                                  : std::pair(out.frames[image].height(), out.frames[image].width());
  std::string settings = settings_text(app, o, pipe, call, height, width);
  if (numbers.all > 1) settings += cat(out.frames.empty() ? " image=" : " video=", numbers.first + image + 1, "/", numbers.all);
  text.emplace_back("settings", std::move(settings));
  return text;
}

nlohmann::json figures(const PipelineOutput& out, double loading, const std::vector<ComponentFigures>& components,
                       const std::vector<std::string>& files) {
  const Timings& t = out.timings;
  const CallCounters& n = out.counters;
  nlohmann::json memory = nlohmann::json::object();
  double compiling = 0, resizing = 0, preparing = 0;
  for (const ComponentFigures& c : components) {
    memory[c.name] = {{"activations", c.arena_bytes}, {"weights", c.constant_bytes}, {"waiting", c.waiting_bytes}};
    compiling += c.seconds_compiling;
    resizing += c.seconds_resizing;
    preparing += c.seconds_preparing;
  }
  return {{"files", files},
          {"seeds", out.seeds},
          {"seconds",
           {{"load", loading},
            {"encode_prompt", t.encode_prompt},
            {"prepare", t.prepare},
            {"steps", t.steps},
            {"decode", t.decode},
            {"total", loading + t.total},
            {"compiling", compiling},
            {"resizing", resizing},
            {"preparing_weights", preparing}}},
          {"counters",
           {{"plans_compiled", n.plans_compiled},
            {"plans_resized", n.plans_resized},
            {"guards_failed", n.guards_failed},
            {"parts_given_back", n.parts_given_back},
            {"loop_allocations", n.loop_allocations},
            {"loop_host_device_syncs", n.loop_host_device_syncs},
            {"steps_recorded", process_counters().steps_recorded},
            {"steps_replayed", process_counters().steps_replayed},
            {"loop_break", n.loop_break}}},
          {"bytes", {{"plans", memory}, {"peak_resident", peak_resident_bytes()}}}};
}

void print_phases(const PipelineOutput& out, double loading, const std::vector<ComponentFigures>& components) {
  const Timings& t = out.timings;
  std::fprintf(stderr, "loading %.3f s, prompt %.3f s, preparing %.3f s, %zu steps %.3f s, decoding %.3f s; total %.3f s\n", loading, t.encode_prompt,
               t.prepare, t.steps.size(), sum(t.steps), t.decode, loading + t.total);
  const CallCounters& n = out.counters;
  std::fprintf(stderr,
               "plans compiled: %lld, resized: %lld; guards failed: %lld; in the loop allocations: %lld, host-device syncs: %lld; "
               "components given back: %lld\n",
               static_cast<long long>(n.plans_compiled), static_cast<long long>(n.plans_resized), static_cast<long long>(n.guards_failed),
               static_cast<long long>(n.loop_allocations), static_cast<long long>(n.loop_host_device_syncs),
               static_cast<long long>(n.parts_given_back));
  if (!n.loop_break.empty()) std::fprintf(stderr, "each step waited for the device: %s\n", n.loop_break.c_str());
  std::fprintf(stderr, "%s", memory_table(components).c_str());
}

void hint_at_few_steps(const Arguments& app, const GenerateFlags& o, const Call& call, DiffusionPipeline& pipe) {
  const std::optional<int> steps = pipe.loaded().recipe->num_inference_steps(call);
  if (!steps) return;  // a list of one's own
  const Scheduler& scheduler = pipe.scheduler();
  const std::string hint = few_steps_hint(model_names(o.model, scheduler.class_name(), app), *steps, call.guidance_scale, scheduler.config());
  if (!hint.empty()) warn(hint);
}

// What was given, the same for all that share the call.
std::string command_line(const Arguments& app) {
  std::string text;
  for (const Option* option : app.options())
    if (option->given()) text += cat(option->name(), '=', joined(option->values(), ","), ' ');
  return text;
}

// The file to write. Throws UsageError for one that this kind of model does not make, and for what is only for videos.
std::string checked_output(const GenerateFlags& o, bool videos) {
  for (const auto& [name, file] : {std::pair("--output", o.output), std::pair("--preview", o.preview)})
    if (file && file->empty()) throw UsageError(cat(name, " is empty: expected the name of a file"));
  const bool latents = o.tensors.latents_out();
  std::string output = o.output.value_or(latents ? "vivace.npy" : videos ? "vivace.mp4" : "vivace.png");
  if (latents) {
    if (std::filesystem::path(output).extension() != ".npy") throw UsageError(cat("latents cannot be written to ", output, ": expected .npy"));
    if (o.fps || o.preview) throw UsageError(cat(o.fps ? "--fps" : "--preview", " is for what is decoded, and --output-type is latent"));
    check_writable(output);
    return output;
  }
  if (!videos) {
    if (o.fps || o.preview) throw UsageError(cat(o.fps ? "--fps" : "--preview", " is for videos, and this model makes pictures"));
    Image::check_save_path(output);
    return output;
  }
  Video::check_save_path(output);
  if (o.preview) Image::check_save_path(*o.preview);
  if (o.fps && !(*o.fps > 0 && *o.fps <= 1000)) throw UsageError(cat("--fps is ", *o.fps, ": expected a number above 0, up to 1000"));
  return output;
}

// The files of a call, which it names as they are written.
void write(const Arguments& app, const GenerateFlags& o, DiffusionPipeline& pipe, const Call& call, const PipelineOutput& out,
           const std::string& output, const PictureNumbers& numbers, bool quiet, std::vector<std::string>& files) {
  const auto written = [&](const std::filesystem::path& path, size_t image) {
    files.push_back(path.string());
    if (!quiet) std::fprintf(stderr, "%s (seed %llu)\n", path.c_str(), static_cast<unsigned long long>(seed_of(out, image)));
  };
  if (o.tensors.latents_out()) {
    save_npy(output, out.latents);
    return written(output, 0);
  }
  const size_t count = out.images.size() + out.frames.size();
  for (size_t i = 0; i < count; ++i) {
    const auto path = numbered(output, numbers.first + i, numbers.all);
    const TextChunks text = describe(app, o, pipe, call, out, i, numbers);
    if (out.images.empty())
      out.frames[i].save(path, {.fps = o.fps.value_or(pipe.loaded().recipe->fps()), .text = text, .stop = call.options.stop});
    else
      out.images[i].save(path, text);
    written(path, i);
  }
}

// Of an exception that is being handled. What was written before is whole.
int interrupted_after(const std::vector<std::string>& files) {
  if (files.empty()) throw;
  std::fprintf(stderr, "vivace: interrupted; %s %s written before\n", joined(files).c_str(), files.size() == 1 ? "was" : "were");
  return interrupted_code();
}

int run_generate(const Arguments& app, const GenerateFlags& given, const Common& common) {
  GenerateFlags o = given;
  const Ranks ranks = o.parallel.ranks();
  o.device = device_of(o.device, ranks);
  std::vector<std::string> texts = o.text;
  texts.insert(texts.end(), o.prompt.begin(), o.prompt.end());
  Prompts prompts(read_prompts(texts));
  if (prompts.empty() && o.tensors.prompt_embeds.empty()) throw UsageError("no prompt: expected a text, as in vivace generate \"a red apple\"");
  // Quotes that were forgotten look like this.
  if (o.text.size() > 1 && !common.quiet && !common.json && ranks.rank == 0)
    std::fprintf(stderr, "%zu prompts, %s each: a prompt of several words stands in quotes\n", prompts.size(),
                 o.images == 1 ? "a picture" : cat(o.images, " pictures").c_str());
  const bool videos = o.makes_videos();
  const std::string output = checked_output(o, videos);
  CallOptions call = o.call();
  call.prompt_2 = Prompts(read_prompts(o.prompt_2));
  if (!o.negative_prompt.empty()) call.negative_prompt = Prompts(read_prompts(o.negative_prompt));
  if (!o.negative_prompt_2.empty()) call.negative_prompt_2 = Prompts(read_prompts(o.negative_prompt_2));
  call.num_images_per_prompt = o.images;
  o.tensors.apply(call);
  std::optional<GuidancePairs> pairs;
  if (ranks.pairs) {
    const size_t each = static_cast<size_t>(std::max(o.images, 1));
    pairs.emplace(ranks, o.device, command_line(app), each * (prompts.empty() ? static_cast<size_t>(call.prompt_embeds.dim(0)) : prompts.size()),
                  o.seed);
  }
  PictureNumbers numbers = take_share(prompts, call, o.seed, ranks.drawing());
  if (ranks.drawing().size > 1 && prompts.empty()) {
    if (pairs) pairs->leave();
    if (common.json)
      print_json({{"files", nlohmann::json::array()}});
    else if (!common.quiet)
      std::fprintf(stderr, "no picture is left for rank %d of %d\n", ranks.rank, ranks.size);
    return 0;
  }
  std::vector<Generator> generators;  // of the call
  if (o.generator_device == "cuda") {
    for (const uint64_t seed : o.seed) generators.push_back(Generator::cuda(seed));
    if (generators.empty()) generators.push_back(Generator::cuda(std::random_device()()));
    for (Generator& generator : generators) call.generators.push_back(&generator);
  } else if (o.generator_device != "cpu") {
    throw UsageError(cat("--generator-device is ", o.generator_device, ": expected cpu or cuda"));
  } else if (o.seed.size() == 1) {
    call.seed = o.seed[0];
  } else {
    call.seeds = o.seed;
  }

  const auto begin = std::chrono::steady_clock::now();
  std::shared_ptr<Communicator> other = pairs ? pairs->communicator() : nullptr;
  DiffusionPipeline pipe = o.load();
  pipe.loaded().ranks = std::move(other);
  const double loading = seconds_since(begin);
  const bool shows = !common.quiet && !common.json && ranks.rank == 0;  // one line for all ranks
  Progress progress(shows);
  Progress frames(shows, "frame");
  auto last = std::chrono::steady_clock::now();
  call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState& state) {
    progress.step(step + 1, state.num_timesteps, state.seconds);
    if (step + 1 == state.num_timesteps) progress.end();
    last = std::chrono::steady_clock::now();
  };
  call.callback_on_step_end_tensor_inputs.clear();
  std::vector<std::string> previews, files;
  call.callback_on_frames = [&](const DecodedFrames& decoded) {
    if (o.preview && numbers.first + static_cast<size_t>(decoded.video) == 0 && decoded.first == 0) {
      decoded.frames.frame(0).save(*o.preview);
      previews = {*o.preview};
    }
    frames.step(decoded.first + decoded.frames.frames(), decoded.num_frames, seconds_since(last));
    last = std::chrono::steady_clock::now();
  };
  const Uninterrupted until_written;
  call.stop = interruption();
  const Call resolved = pipe.loaded().recipe->resolve(prompts, call);
  hint_at_few_steps(app, o, resolved, pipe);
  PipelineOutput out;
  try {
    out = pipe(prompts, call);
    progress.end();
    frames.end();
    if (ranks.drawing().size == 1) numbers.all = out.images.size() + out.frames.size();
    if (ranks.writes()) write(app, o, pipe, resolved, out, output, numbers, common.quiet || common.json, files);
  } catch (const Interrupted&) {
    previews.insert(previews.end(), files.begin(), files.end());
    return interrupted_after(previews);
  }
  if (pairs) pairs->leave();
  const std::vector<ComponentFigures> components = component_figures(pipe);
  if (common.verbose) print_phases(out, loading, components);
  if (common.json) print_json(figures(out, loading, components, files));
  return 0;
}

}  // namespace

Command add_generate(Arguments& app, const Common& common) {
  auto o = std::make_shared<GenerateFlags>();
  Arguments* c = app.add_subcommand("generate", "Make a picture or a video from a prompt");
  c->group(Group::draw);
  c->add_option("text", o->text, "The prompt; several make a batch");
  c->add_option("--prompt", o->prompt, "The prompt, as an option");
  c->add_option("--negative-prompt", o->negative_prompt, "What the picture should not show; one, or one a prompt");
  c->add_option("--prompt-2", o->prompt_2, "Prompt of the second text encoder");
  c->add_option("--negative-prompt-2", o->negative_prompt_2, "Negative prompt of the second text encoder");
  c->add_option("--num-images-per-prompt,--num-videos-per-prompt", o->images, "Pictures, or videos").show_default();
  c->add_option("--seed", o->seed,
                "Of the random numbers, as torch.Generator's manual_seed; several, as 7,8, are one an image; default: a random one");
  c->add_option("--generator-device", o->generator_device,
                "Whose random numbers: cpu (torch.Generator(\"cpu\")) or cuda (torch.Generator(\"cuda\"), on any device)")
      .show_default();
  o->parallel.add(*c);
  o->tensors.add(*c);
  o->add(*c);
  o->cache.add(*c);
  c->group(Group::output);
  c->add_option(
      "--output,-o", o->output,
      "File to write, several are numbered; a picture: .png (default: vivace.png), or .npy for float32 [H, W, 3] in 0..1; a video: .mp4 (default: "
      "vivace.mp4), .webm, .gif, .webp, .npy for [F, H, W, 3], or without an extension a folder of PNGs");
  c->add_option("--preview", o->preview, "Picture of a video's first frame, .png, written as soon as it is decoded");
  c->add_option("--fps", o->fps, "Frames a second of a video; default: what the model was made for, 8, or 16 for CogVideoX 1.5");
  return {c, [o, c, &common] { return run_generate(*c, *o, common); }};
}

}  // namespace vivace::cli
