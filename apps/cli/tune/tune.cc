// vivace tune: the fastest setting whose pictures stay within a bound on drift, as a profile for `generate --profile`.
#include <chrono>
#include <ranges>

#include "base/log.h"
#include "base/seconds.h"
#include "base/utf8.h"
#include "bench/report.h"
#include "bench/rungs.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"
#include "tune/profile_file.h"
#include "tune/trial.h"
#include "tune/tuner.h"
#include "vivace/error.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

struct TuneFlags : PictureOptions {
  TuneFlags() { cache.off = true; }  // every turn begins with nothing, and nothing is written while it is timed
  std::vector<std::string> text;
  std::string prompts, max_drift, output = "profile.json";
  std::vector<std::string> drawing;  // names of the options that say what is drawn, and with what
  uint64_t seed = 0;
  double budget = 0;
};

// Everything measurements depend on.
nlohmann::json asked(const Arguments& app, const TuneFlags& o, const std::vector<std::string>& prompts) {
  const Machine machine = this_machine();
  const CallOptions call = o.call();
  std::vector<std::string> given;
  for (const std::string& name : o.drawing)
    if (const Option& option = app.option(name); option.given() && name != "--model")
      for (const std::string& word : option.words()) given.push_back(to_valid_utf8(word));
  return {{"version", VIVACE_VERSION},
          {"cpu", machine.cpu},
          {"isa", machine.isa},
          {"threads", machine.threads},
          {"model", to_valid_utf8(std::filesystem::weakly_canonical(o.model).string())},
          {"prompts", prompts},
          {"seed", o.seed},
          {"height", call.height},
          {"width", call.width},
          {"num_inference_steps", call.num_inference_steps.value_or(0)},
          {"guidance_scale", call.guidance_scale.value_or(0)},
          {"scheduler", o.scheduler},
          {"options", given}};
}

void refuse_accelerations(const Arguments& app) {
  for (const std::string& name : acceleration_options())
    if (app.option(name).given()) throw UsageError(cat(name, " is what tune looks for: leave it out"));
}

int run_tune(const Arguments& app, const TuneFlags& o, const Common& common) {
  const DriftBound bound = DriftBound::parse(o.max_drift);
  refuse_accelerations(app);
  if (!(o.budget >= 0)) throw UsageError(cat("--budget is ", o.budget, ": expected seconds"));
  std::vector<std::string> prompts = read_prompts(o.text, o.prompts);
  if (prompts.empty()) prompts.push_back("a red apple");
  ProfileFile file(o.output, asked(app, o, prompts));
  Trial trial(o, prompts, o.seed);
  const auto begin = std::chrono::steady_clock::now();
  const TunerWorld world{
      .measure = [&](const PretrainedOptions& base, const PretrainedOptions& setting) { return trial.measure(base, setting); },
      .candidates = [&](const PretrainedOptions& base) { return find_candidates(trial.pipeline(base), trial.call()); },
      .time_is_up = [&] { return o.budget > 0 && seconds_since(begin) > o.budget; },
      .say =
          [&](const std::string& line) {
            if (!common.quiet && !common.json) std::fprintf(stderr, "%s\n", line.c_str());
          },
  };
  const Uninterrupted between_steps;
  TuneResult result;
  try {
    result = tune(world, file, bound);
  } catch (const Interrupted&) {
    std::error_code ignored;
    if (!std::filesystem::exists(o.output, ignored)) throw;
    std::fprintf(stderr, "vivace: interrupted; %s holds what was found so far, and the same command goes on\n", o.output.c_str());
    return interrupted_code();
  }
  const Measured& m = result.measured;
  if (common.json)
    print_json({{"file", o.output},
                {"chosen", result.chosen},
                {"seconds", m.seconds},
                {"base_seconds", m.base_seconds},
                {"noise", m.noise},
                {"drift", bound.text(m.drift)}});
  else if (!common.quiet && result.chosen.empty())
    std::fprintf(stderr, "%s: the plain setting, compiled: nothing beyond it gained more than equal runs differ by (%s)\n", o.output.c_str(),
                 bound.text().c_str());
  else if (!common.quiet)
    std::fprintf(stderr, "%s: %zu candidates, %.2fx faster than without them, %s (%s)\n", o.output.c_str(), result.chosen.size(),
                 m.base_seconds / m.seconds, bound.text(m.drift).c_str(), bound.text().c_str());
  return 0;
}

}  // namespace

Command add_tune(Arguments& app, const Common& common) {
  auto o = std::make_shared<TuneFlags>();
  Arguments* c = app.add_subcommand("tune", "Find the fastest setting whose pictures stay within a bound on drift");
  c->add_option("--max-drift", o->max_drift, "Bound on the worst picture against eager fp32: PSNR>=30, SSIM>=0.95 or MDSI<=0.2").required();
  c->add_option("--budget", o->budget, "Seconds after which nothing new is measured; default: no limit");
  c->group(Group::draw);
  c->add_option("text", o->text, "Prompts to draw (default: a red apple)");
  c->add_option("--prompts", o->prompts, "File of prompts, one a line");
  c->add_option("--seed", o->seed, "Seed of the first picture; each further one has the next").show_default();
  const size_t before = c->options().size();
  o->add(*c);
  for (const Option* option : c->options() | std::views::drop(before)) o->drawing.push_back(option->name());
  c->group(Group::output);
  c->add_option("--output,-o", o->output, "Profile to write, and to go on with when it is there").show_default();
  return {c, [o, c, &common] { return run_tune(*c, *o, common); }};
}

}  // namespace vivace::cli
