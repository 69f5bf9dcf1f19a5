// vivace bench: seconds, memory and drift of one setting or of the whole ladder; two reports side by side.
#include <ctime>

#include "backends/devices.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "bench/measure.h"
#include "bench/report_html.h"
#include "bench/report_text.h"
#include "bench/rungs.h"
#include "bench/worker.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"
#include "progress.h"
#include "vivace/error.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

struct BenchFlags : PictureOptions {
  BenchFlags() { cache.off = true; }  // every turn begins with nothing, and nothing is written while it is timed
  std::vector<std::string> text, prompt, compare;
  std::string prompts, json, html;
  uint64_t seed = 0;
  int runs = 3;
  bool ladder = false, reference = false, worker = false, send_pictures = false;
};

// Options of `bench` itself; every other one given is the contestants'.
constexpr const char* kOwn[] = {"--prompt", "--prompts", "--compare",   "--json",   "--html",         "--seed",
                                "--runs",   "--ladder",  "--reference", "--worker", "--send-pictures"};

bool is_one_of(const std::string& name, const auto& names) { return std::ranges::find(names, name) != std::end(names); }

// Options as they were given, to be given again.
std::vector<std::string> given(const Arguments& app, const std::function<bool(const std::string& name)>& wanted) {
  std::vector<std::string> arguments;
  for (const Option* option : app.options()) {
    if (option->is_text() || !option->given() || !wanted(option->name())) continue;
    const std::vector<std::string> words = option->words();
    arguments.insert(arguments.end(), words.begin(), words.end());
  }
  return arguments;
}

std::vector<Contestant> contestants(const Arguments& app, const BenchFlags& o) {
  const std::vector<std::string> accelerations = acceleration_options();
  if (!o.ladder) {
    std::vector<Contestant> list;
    if (o.reference) list.push_back(plain_float32());
    list.push_back({"this setting", given(app, [&](const std::string& name) { return is_one_of(name, accelerations); })});
    return list;
  }
  for (const std::string& name : accelerations)
    if (name != "--dtype" && app.option(name).given()) throw UsageError(cat(name, " is what the ladder climbs: leave it out"));
  const std::string dtype = app.option("--dtype").given() ? o.dtype : "bf16";
  if (dtype != "bf16" && dtype != "fp16") throw UsageError(cat("--dtype is ", dtype, ": the ladder climbs from fp32 to bf16 or fp16"));
  return ladder(dtype, open_device(o.device)->target());
}

std::string now() {
  const std::time_t time = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&time));
  return text;
}

int compare(const Arguments& app, const BenchFlags& o) {
  for (const Option* option : app.options())
    if (option->given() && option->name() != "--compare")
      throw UsageError(
          cat(option->is_text() ? "a prompt" : option->name(), " changes nothing beside --compare, which measures nothing: leave it out"));
  print(comparison_text(read_report(o.compare[0]), read_report(o.compare[1])));
  return 0;
}

int run_bench(const Arguments& app, const BenchFlags& o, const Common& common) {
  if (!o.compare.empty()) {
    if (common.json) throw UsageError("--json changes nothing beside --compare, which prints a table: leave it out");
    return compare(app, o);
  }
  if (o.reference && o.ladder) throw UsageError("--reference changes nothing beside --ladder, whose first rung is plain fp32: leave it out");
  std::vector<std::string> texts = o.text;
  texts.insert(texts.end(), o.prompt.begin(), o.prompt.end());
  std::vector<std::string> prompts = read_prompts(texts, o.prompts);
  if (prompts.empty()) prompts.push_back("a red apple");
  if (o.worker) return bench_worker(o, prompts, o.seed, o.send_pictures);
  if (o.runs < 1 || o.runs > 1000) throw UsageError(cat("--runs is ", o.runs, ": expected 1 to 1000"));
  for (const std::string& file : {o.json, o.html})
    if (!file.empty()) check_writable(file);
  if (!o.json.empty() && o.json == o.html) throw UsageError(cat("--json and --html both name ", o.json, ": expected two files"));
  const std::vector<std::string> accelerations = acceleration_options();
  std::vector<std::string> arguments = given(app, [&](const std::string& name) { return !is_one_of(name, kOwn) && !is_one_of(name, accelerations); });
  if (common.pin_threads) arguments.push_back("--pin-threads");
  Progress progress(!common.quiet && !common.json, "run");
  Report report = measure({.contestants = contestants(app, o),
                           .arguments = std::move(arguments),
                           .prompts = prompts,
                           .seed = o.seed,
                           .runs = o.runs,
                           .on_turn = [&](int done, int turns, double seconds) { progress.step(done, turns, seconds); },
                           .on_warning =
                               [&](const std::string& line) {
                                 progress.end();
                                 if (!common.quiet) std::fprintf(stderr, "%s\n", line.c_str());
                               }});
  progress.end();
  report.program = "vivace";
  report.version = VIVACE_VERSION;
  report.date = now();
  report.settings.device = o.device;
  report.settings.model = std::filesystem::path(o.model).lexically_normal().string();
  const Uninterrupted saving;
  if (!o.json.empty()) write_file(o.json, json_text(to_json(report), 1) + "\n");
  if (!o.html.empty()) write_file(o.html, report_html(report));
  if (common.json)
    print_json(to_json(report));
  else
    print(report_text(report));
  return 0;
}

}  // namespace

Command add_bench(Arguments& app, const Common& common) {
  auto o = std::make_shared<BenchFlags>();
  Arguments* c = app.add_subcommand("bench", "Seconds, memory and drift of a setting, or of the whole ladder of optimisations");
  c->add_option("--runs", o->runs, "Turns of each contestant, interleaved; each turn is a process of its own").show_default();
  c->add_flag("--ladder", o->ladder, "Climb from fp32 with math attention to everything Vivace has, --dtype (bf16 or fp16) in between");
  c->add_flag("--reference", o->reference, "Run plain fp32 beside the setting: how much faster, how far from its picture");
  c->add_option("--compare", o->compare, "Two reports in JSON, A and B: print ratios instead of measuring").takes(2);
  c->add_flag("--worker", o->worker, "").hidden();
  c->add_flag("--send-pictures", o->send_pictures, "").hidden();
  c->group(Group::draw);
  c->add_option("text", o->text, "Prompts; the first one's picture is timed, all are compared with the reference's (default: a red apple)");
  c->add_option("--prompt", o->prompt, "A prompt, as an option");
  c->add_option("--prompts", o->prompts, "File of prompts, one a line");
  c->add_option("--seed", o->seed, "Seed of the first picture; each further one has the next").show_default();
  o->add(*c);
  c->group(Group::output);
  c->add_option("--json", o->json, "File for the report as JSON");
  c->add_option("--html", o->html, "File for the report as a web page of its own");
  return {c, [o, c, &common] { return run_bench(*c, *o, common); }};
}

}  // namespace vivace::cli
