// vivace export: a pipeline compiled ahead of time, as a package.
#include "vivace/export.h"

#include <chrono>
#include <cstdio>

#include "base/log.h"
#include "commands.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "pipelines/loaded.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct ExportFlags {
  std::string model = default_model(), output, dtype = "fp32", variant, profile;
  std::optional<int64_t> height, width;
  std::optional<int> num_frames;
  std::optional<int64_t> max_area;
  std::vector<std::string> sizes;
  int64_t batch = 1;
  std::vector<int> clip_skip{1};
  bool no_weights = false;
  ModelFlags files;
  CompileFlags compile;
  CacheFlags cache;
};

// "1024x768": height and width.
Size parse_size(const std::string& text) {
  const std::vector<std::string> sides = split(text, 'x');
  if (sides.size() != 2) throw UsageError(cat("--size is \"", text, "\": expected height and width in pixels, as 1024x768"));
  const Size size{parse_number<int64_t>(sides[0], "the height of --size"), parse_number<int64_t>(sides[1], "the width of --size")};
  if (size.first <= 0 || size.second <= 0) throw UsageError(cat("--size is ", text, ": expected positive numbers of pixels, as 1024x768"));
  return size;
}

int run_export(const ExportFlags& o, const Common& common) {
  ExportOptions options{.sizes = {},
                        .num_frames = o.num_frames,
                        .max_area = o.max_area,
                        .batch = o.batch,
                        .clip_skip = o.clip_skip,
                        .weights = !o.no_weights,
                        .on_file = nullptr};
  for (const std::string& text : o.sizes) options.sizes.push_back(parse_size(text));
  const auto begin = std::chrono::steady_clock::now();
  PretrainedOptions pretrained = loading_options(o.profile, o.model, o.dtype, o.compile);
  pretrained.variant = o.variant;
  pretrained.cache = o.cache.options();
  o.files.apply(pretrained);
  DiffusionPipeline pipe = open_model(o.model, pretrained);
  if (o.height || o.width) {
    const Size own = pipe.default_size();
    options.sizes.insert(options.sizes.begin(), {o.height.value_or(own.first), o.width.value_or(own.second)});
  }
  const Size size = options.sizes.empty() ? pipe.default_size() : options.sizes[0];
  CallOptions call = pipe.loaded().recipe->blank_call(size);
  call.num_frames = o.num_frames;
  call.max_area = o.max_area;
  o.compile.apply(pipe, call);
  // A half-written folder is removed on the way out, which a signal that ends the process at once would not do.
  std::optional<Uninterrupted> writing;
  options.on_file = [&](const std::string& file) {
    if (!writing) writing.emplace();
    if (interrupted()) throw Interrupted("stopped");
    info("writing ", file);
  };
  export_package(pipe, o.output, options);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  if (common.json)
    print_json({{"files", {o.output}}, {"seconds", taken.count()}});
  else if (!common.quiet)
    std::fprintf(stderr, "%s (%.1f s)\n", o.output.c_str(), taken.count());
  return 0;
}

}  // namespace

Command add_export(Arguments& app, const Common& common) {
  auto o = std::make_shared<ExportFlags>();
  Arguments* c = app.add_subcommand("export", "Compile ahead of time: write a package that generate --model runs without compiling");
  c->group(Group::draw);
  c->add_option("--height", o->height, "Of the calls that it serves, as generate has it: pixels; default: the model's size");
  c->add_option("--width", o->width, "Of the calls that it serves, as generate has it: pixels; default: the model's size");
  c->add_option("--size", o->sizes, "A further height and width, as 1024x768; may be given several times");
  c->add_option("--max-area", o->max_area, "Kontext: pixels of its pictures, whose shape alone height and width say; default 1048576");
  c->add_option("--num-frames", o->num_frames, "Frames of the videos it makes; default: the pipeline's, 49 for CogVideoX");
  c->add_option("--batch", o->batch, "Pictures that a call makes, of one prompt or of several").show_default();
  c->add_option("--clip-skip", o->clip_skip, "Values of clip_skip that it serves beside none, as 1,2; default: 1");
  c->group(Group::model);
  const Option& folder = c->add_option("folder", o->model, "Checkpoint: a folder in Diffusers layout, or one file").show_default();
  c->add_option("--model", o->model, "The same, as an option").excludes(folder);
  o->files.add(*c);
  c->add_option("--variant", o->variant, "Weight files of this variant, such as fp16");
  add_setting(*c, o->profile, o->dtype, o->compile);
  o->cache.add(*c);
  c->group(Group::output);
  c->add_option("--output,-o", o->output, "Package to write, a folder: sdxl.vivace").required();
  c->add_flag("--no-weights", o->no_weights, "Name the checkpoint instead of holding its prepared weights");
  return {c, [o, &common] { return run_export(*o, common); }};
}

}  // namespace vivace::cli
