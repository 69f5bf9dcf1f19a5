// vivace sheet: a contact sheet, a picture for each prompt. Picture i is what `generate` draws with seed + i.
#include <filesystem>

#include "base/log.h"
#include "commands.h"
#include "image/contact_sheet.h"
#include "interrupt.h"
#include "options.h"
#include "output.h"
#include "pipelines/loaded.h"
#include "progress.h"
#include "vivace/error.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

struct SheetFlags : PictureOptions {
  std::vector<std::string> text;
  std::string from, output = "sheet.png";
  uint64_t seed = 0;
  int columns = 0, padding = 4;
};

// The nearest to a square, for pictures that are about square.
int default_columns(size_t count) {
  int columns = 1;
  while (static_cast<size_t>(columns) * static_cast<size_t>(columns) < count) ++columns;
  return columns;
}

int run_sheet(const Arguments& app, const SheetFlags& o, const Common& common) {
  const std::vector<std::string> prompts = read_prompts(o.text, o.from);
  if (prompts.empty()) throw UsageError("no prompts: expected texts, or --from FILE with one a line");
  if (o.columns < 0 || o.padding < 0 || o.padding > 1024)
    throw UsageError("--columns and --padding must not be negative, and --padding is at most 1024 pixels");
  Image::check_save_path(o.output);
  CallOptions call = o.call();
  DiffusionPipeline pipe = o.load();
  const int columns = o.columns ? o.columns : default_columns(prompts.size());
  const Call resolved = pipe.loaded().recipe->resolve(Prompts(prompts), call);
  sheet_size(static_cast<int64_t>(prompts.size()), columns, o.padding, resolved.height, resolved.width);  // refused before it is drawn
  Progress progress(!common.quiet && !common.json);
  std::vector<Image> images;
  std::vector<double> seconds;
  const int count = static_cast<int>(prompts.size());
  call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState& state) {
    const int steps = state.num_timesteps;
    progress.step(static_cast<int>(images.size()) * steps + step + 1, count * steps, state.seconds);
  };
  call.callback_on_step_end_tensor_inputs.clear();
  std::string listing;
  const Uninterrupted until_written;
  call.stop = interruption();
  for (const std::string& prompt : prompts) {
    call.seed = o.seed + images.size();
    const PipelineOutput out = pipe(prompt, call);
    images.push_back(pictures_of(out).at(0));  // of a video its first frame
    seconds.push_back(out.timings.total);
    listing += prompt + '\n';
  }
  progress.end();
  contact_sheet(images, columns, o.padding)
      .save(o.output, {{"Software", std::string("Vivace ") + VIVACE_VERSION},
                       {"prompt", listing},
                       {"seed", cat(o.seed, " and up, one a picture")},
                       {"settings", settings_text(app, o, pipe, resolved, images[0].height(), images[0].width())}});
  if (common.json)
    print_json({{"files", {o.output}}, {"seconds", seconds}});
  else if (!common.quiet)
    std::fprintf(stderr, "%s (%d pictures)\n", o.output.c_str(), count);
  return 0;
}

}  // namespace

Command add_sheet(Arguments& app, const Common& common) {
  auto o = std::make_shared<SheetFlags>();
  Arguments* c = app.add_subcommand("sheet", "Make a contact sheet, a picture for each prompt");
  c->group(Group::draw);
  c->add_option("text", o->text, "Prompts");
  c->add_option("--from", o->from, "File of prompts, one a line");
  c->add_option("--seed", o->seed, "Seed of the first picture; each further one has the next").show_default();
  o->add(*c);
  o->cache.add(*c);
  c->group(Group::output);
  c->add_option("--output,-o", o->output, "Sheet to write: .png or .npy").show_default();
  c->add_option("--columns", o->columns, "Pictures in a row; default: about as many as rows");
  c->add_option("--padding", o->padding, "White pixels around each picture").show_default();
  return {c, [o, c, &common] { return run_sheet(*c, *o, common); }};
}

}  // namespace vivace::cli
