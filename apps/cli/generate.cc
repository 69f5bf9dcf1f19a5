// vivace generate: prompts become pictures.
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "base/seconds.h"
#include "commands.h"
#include "few_steps.h"
#include "interrupt.h"
#include "memory_report.h"
#include "options.h"
#include "output.h"
#include "pipelines/loaded.h"
#include "progress.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

struct Options : PictureOptions {
  std::vector<std::string> text, prompt, prompt_2, negative_prompt, negative_prompt_2;
  std::string output = "vivace.png";
  std::optional<uint64_t> seed;
  int images = 1;
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

// Model, prompt and settings, so that a picture can be made again.
TextChunks describe(const Arguments& app, const Options& o, DiffusionPipeline& pipe, const PipelineOutput& out, const Prompts& prompts,
                    size_t image) {
  const size_t prompt = image / static_cast<size_t>(o.images);
  TextChunks text{{"Software", std::string("Vivace ") + VIVACE_VERSION}, {"prompt", prompts[prompt]}, {"seed", std::to_string(out.seeds[0])}};
  if (!o.negative_prompt.empty()) text.emplace_back("negative_prompt", o.negative_prompt[o.negative_prompt.size() > 1 ? prompt : 0]);
  std::string settings = settings_text(app, o, pipe, out.images[image]);
  if (out.images.size() > 1) settings += cat(" image=", image + 1, "/", out.images.size());
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
    memory[c.name] = {{"activations", c.arena_bytes}, {"weights", c.constant_bytes}};
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
            {"loop_host_device_syncs", n.loop_host_device_syncs}}},
          {"bytes", {{"plans", memory}, {"peak_resident", peak_resident_bytes()}}}};
}

void print_phases(const PipelineOutput& out, double loading, const std::vector<ComponentFigures>& components) {
  const Timings& t = out.timings;
  std::fprintf(stderr, "loading %.3f s, prompt %.3f s, preparing %.3f s, %zu steps %.3f s, decoding %.3f s; total %.3f s\n", loading, t.encode_prompt,
               t.prepare, t.steps.size(), sum(t.steps), t.decode, loading + t.total);
  const CallCounters& n = out.counters;
  std::fprintf(stderr,
               "%lld plans compiled, %lld resized, %lld guards failed; in the loop %lld allocations, %lld host-device syncs; "
               "%lld components given back\n",
               static_cast<long long>(n.plans_compiled), static_cast<long long>(n.plans_resized), static_cast<long long>(n.guards_failed),
               static_cast<long long>(n.loop_allocations), static_cast<long long>(n.loop_host_device_syncs),
               static_cast<long long>(n.parts_given_back));
  std::fprintf(stderr, "%s", memory_table(components).c_str());
}

void hint_at_few_steps(const Arguments& app, const Options& o, const CallOptions& options, DiffusionPipeline& pipe) {
  const Recipe& recipe = *pipe.loaded().recipe;
  const Call call = recipe.resolve("", options);
  const std::optional<int> steps = recipe.timesteps(call).num_inference_steps;
  if (!steps) return;  // a list of one's own
  const std::string hint = few_steps_hint(model_names(o.model, pipe.scheduler().class_name(), app), *steps, call.guidance_scale);
  if (!hint.empty()) warn(hint);
}

int run(const Arguments& app, const Options& o, const Common& common) {
  std::vector<std::string> texts = o.text;
  texts.insert(texts.end(), o.prompt.begin(), o.prompt.end());
  const Prompts prompts(read_prompts(texts));
  if (prompts.empty()) throw UsageError("no prompt: expected a text, as in vivace generate \"a red apple\"");
  Image::check_save_path(o.output);
  CallOptions call = o.call();
  call.prompt_2 = Prompts(read_prompts(o.prompt_2));
  if (!o.negative_prompt.empty()) call.negative_prompt = Prompts(read_prompts(o.negative_prompt));
  if (!o.negative_prompt_2.empty()) call.negative_prompt_2 = Prompts(read_prompts(o.negative_prompt_2));
  call.num_images_per_prompt = o.images;
  call.seed = o.seed;

  const auto begin = std::chrono::steady_clock::now();
  DiffusionPipeline pipe = o.load();
  const double loading = seconds_since(begin);
  hint_at_few_steps(app, o, call, pipe);
  Progress progress(!common.quiet && !common.json);
  call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState& state) {
    progress.step(step + 1, state.num_timesteps, state.seconds);
  };
  const Uninterrupted until_written;
  call.stop = interruption();
  const PipelineOutput out = pipe(prompts, call);
  progress.end();

  std::vector<std::string> files;
  for (size_t i = 0; i < out.images.size(); ++i) {
    const auto path = numbered(o.output, i, out.images.size());
    out.images[i].save(path, describe(app, o, pipe, out, prompts, i));
    files.push_back(path.string());
    if (!common.quiet && !common.json) std::fprintf(stderr, "%s (seed %llu)\n", path.c_str(), static_cast<unsigned long long>(out.seeds[0]));
  }
  const std::vector<ComponentFigures> components = component_figures(pipe);
  if (common.verbose) print_phases(out, loading, components);
  if (common.json) print_json(figures(out, loading, components, files));
  return 0;
}

}  // namespace

Command add_generate(Arguments& app, const Common& common) {
  auto o = std::make_shared<Options>();
  Arguments* c = app.add_subcommand("generate", "Make a picture from a prompt");
  c->group(Group::draw);
  c->add_option("text", o->text, "The prompt; several make a batch");
  c->add_option("--prompt", o->prompt, "The prompt, as an option");
  c->add_option("--negative-prompt", o->negative_prompt, "What the picture should not show; one, or one a prompt");
  c->add_option("--prompt-2", o->prompt_2, "Prompt of the second text encoder");
  c->add_option("--negative-prompt-2", o->negative_prompt_2, "Negative prompt of the second text encoder");
  c->add_option("--num-images-per-prompt", o->images, "Pictures").show_default();
  c->add_option("--seed", o->seed, "torch.Generator(\"cpu\").manual_seed(seed); default: a random one");
  o->add(*c);
  o->cache.add(*c);
  c->group(Group::output);
  c->add_option("--output,-o", o->output, "Picture to write: .png, or .npy for float32 [H, W, 3] in 0..1; several are numbered").show_default();
  return {c, [o, c, &common] { return run(*c, *o, common); }};
}

}  // namespace vivace::cli
