// vivace tune: the fastest setting whose pictures stay within a bound on drift, as a profile for `generate --profile`.
#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "base/seconds.h"
#include "base/utf8.h"
#include "bench/report.h"
#include "bench/rungs.h"
#include "commands.h"
#include "interrupt.h"
#include "output.h"
#include "tune/candidates.h"
#include "tune/profile_file.h"
#include "tune/trial.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// A candidate must save this share of the time: less can't be told from noise, and would spend drift on nothing.
constexpr double kLeastGain = 0.003;

struct Options : PictureOptions {
  Options() { cache.off = true; }  // every turn begins with nothing, and nothing is written while it is timed
  std::vector<std::string> text;
  std::string prompts, max_drift, output = "profile.json";
  uint64_t seed = 0;
  double budget = 0;
};

class Tuner {
 public:
  Tuner(Trial& trial, ProfileFile& file, const DriftBound& bound, double budget, bool quiet)
      : trial_(trial), file_(file), bound_(bound), budget_(budget), quiet_(quiet) {}

  // Chooses a dtype, measures the candidates on top of it and takes those that gain most for their drift. Returns what was chosen.
  std::vector<std::string> run() {
    const DType dtype = choose_dtype();
    base_ = setting_of(dtype, {}, {});
    DiffusionPipeline& pipe = trial_.pipeline(base_);
    candidates_ = find_candidates(pipe, trial_.size());
    return take(measure_candidates(dtype));
  }
  const Measured& result() const { return result_; }

 private:
  struct Found {
    Candidate candidate;
    Measured measured;
  };

  bool time_is_up() const { return budget_ > 0 && seconds_since(begin_) > budget_; }

  // What the file knows, or else measured now and kept there.
  Measured measured(const std::string& name, const PretrainedOptions& base, const PretrainedOptions& setting) {
    if (const std::optional<Measured> known = file_.find(name)) return *known;
    const Measured m = trial_.measure(base, setting);
    file_.add(name, m);
    if (!quiet_) std::fprintf(stderr, "%-40s %+6.1f %% time, %s\n", name.c_str(), -100 * m.gain(), bound_.text(m.drift).c_str());
    return m;
  }

  void choose(const PretrainedOptions& setting, const std::vector<std::string>& names, const Measured& m) {
    file_.choose(setting, names, m);
    result_ = m;
  }

  DType choose_dtype() {
    const PretrainedOptions plain = setting_of(float32, {}, {});
    DType best = float32;
    double least = 0;
    for (DType dtype : {float32, bfloat16, float16}) {
      if (dtype != float32 && time_is_up()) break;
      const PretrainedOptions setting = setting_of(dtype, {}, {});
      const Measured m = measured(cat("dtype ", dtype_name(dtype)), plain, setting);
      // Compiled float32 is the reference but for the order of its sums; it is there even under a bound that nothing meets.
      if (dtype != float32 && (!bound_.holds(m.drift) || m.gain() < std::max(least, kLeastGain))) continue;
      if (dtype != float32) least = m.gain();
      best = dtype;
      choose(setting, {}, m);
    }
    return best;
  }

  std::vector<Found> measure_candidates(DType dtype) {
    std::vector<Found> found;
    double most = kLeastGain;
    for (const Candidate& candidate : candidates_) {
      const std::string name = cat(candidate.name, " in ", dtype_name(dtype));
      if (time_is_up() && !file_.find(name)) break;
      const PretrainedOptions setting = setting_of(dtype, candidates_, {&candidate, 1});
      const Measured m = measured(name, base_, setting);
      if (!bound_.holds(m.drift) || m.gain() < kLeastGain) continue;
      found.push_back({candidate, m});
      // Whoever is interrupted has the best single one.
      if (m.gain() > most) choose(setting, {candidate.name}, m);
      most = std::max(most, m.gain());
    }
    return found;
  }

  // By gain per drift, as many as the bound allows when they are all on: the longest beginning of the list that holds, by bisection.
  std::vector<std::string> take(std::vector<Found> found) {
    const auto worth = [&](const Found& f) { return f.measured.gain() / (bound_.cost(f.measured.drift) + 1e-12); };
    std::ranges::stable_sort(found, [&](const Found& a, const Found& b) { return worth(a) > worth(b); });
    std::vector<Candidate> order;
    for (const Found& f : found)
      if (f.candidate.knob.empty() || std::ranges::none_of(order, [&](const Candidate& c) { return c.knob == f.candidate.knob; }))
        order.push_back(f.candidate);
    size_t holds = 0, fails = order.size() + 1;
    std::vector<std::string> names;
    for (size_t count = order.size(); count > holds; count = (holds + fails) / 2) {
      const std::span<const Candidate> chosen(order.data(), count);
      const PretrainedOptions setting = setting_of(base_.dtype, candidates_, chosen);
      const Measured m = trial_.measure(base_, setting);
      if (!quiet_) std::fprintf(stderr, "%zu together: %+.1f %% time, %s\n", count, -100 * m.gain(), bound_.text(m.drift).c_str());
      if (!bound_.holds(m.drift)) {
        fails = count;
        continue;
      }
      holds = count;
      names.clear();
      for (const Candidate& c : chosen) names.push_back(c.name);
      choose(setting, names, m);
    }
    return names;
  }

  Trial& trial_;
  ProfileFile& file_;
  const DriftBound& bound_;
  double budget_;
  bool quiet_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  PretrainedOptions base_;
  std::vector<Candidate> candidates_;
  Measured result_;
};

// Everything measurements depend on.
nlohmann::json asked(const Options& o, const std::vector<std::string>& prompts) {
  const Machine machine = this_machine();
  const CallOptions call = o.call();
  return {{"version", VIVACE_VERSION},
          {"cpu", machine.cpu},
          {"isa", machine.isa},
          {"threads", machine.threads},
          {"model", to_valid_utf8(std::filesystem::weakly_canonical(o.model).string())},
          {"prompts", prompts},
          {"seed", o.seed},
          {"height", call.height},
          {"width", call.width},
          {"num_inference_steps", call.num_inference_steps},
          {"guidance_scale", call.guidance_scale.value_or(0)},
          {"scheduler", o.scheduler}};
}

void refuse_accelerations(const Arguments& app) {
  for (const std::string& name : acceleration_options())
    if (app.option(name).given()) throw UsageError(cat(name, " is what tune looks for: leave it out"));
}

int run(const Arguments& app, const Options& o, const Common& common) {
  const DriftBound bound = DriftBound::parse(o.max_drift);
  refuse_accelerations(app);
  if (!(o.budget >= 0)) throw UsageError(cat("--budget is ", o.budget, ": expected seconds"));
  std::vector<std::string> prompts = read_prompts(o.text, o.prompts);
  if (prompts.empty()) prompts.push_back("a red apple");
  ProfileFile file(o.output, asked(o, prompts));
  Trial trial(o, prompts, o.seed);
  Tuner tuner(trial, file, bound, o.budget, common.quiet || common.json);
  const Uninterrupted between_steps;
  std::vector<std::string> chosen;
  try {
    chosen = tuner.run();
  } catch (const Interrupted&) {
    std::error_code ignored;
    if (!std::filesystem::exists(o.output, ignored)) throw;
    std::fprintf(stderr, "vivace: interrupted; %s holds what was found so far, and the same command goes on\n", o.output.c_str());
    return 130;
  }
  const Measured& result = tuner.result();
  if (common.json)
    print_json({{"file", o.output},
                {"chosen", chosen},
                {"seconds", result.seconds},
                {"base_seconds", result.base_seconds},
                {"drift", bound.text(result.drift)}});
  else if (!common.quiet)
    std::fprintf(stderr, "%s: %zu candidates, %.2fx faster than without them, %s (%s)\n", o.output.c_str(), chosen.size(),
                 result.base_seconds / result.seconds, bound.text(result.drift).c_str(), bound.text().c_str());
  return 0;
}

}  // namespace

Command add_tune(Arguments& app, const Common& common) {
  auto o = std::make_shared<Options>();
  Arguments* c = app.add_subcommand("tune", "Find the fastest setting whose pictures stay within a bound on drift");
  c->add_option("--max-drift", o->max_drift, "Bound on the worst picture against eager fp32: PSNR>=30, SSIM>=0.95 or MDSI<=0.2").required();
  c->add_option("--budget", o->budget, "Seconds after which nothing new is measured; default: no limit");
  c->group(Group::draw);
  c->add_option("text", o->text, "Prompts to draw (default: a red apple)");
  c->add_option("--prompts", o->prompts, "File of prompts, one a line");
  c->add_option("--seed", o->seed, "Seed of the first picture; each further one has the next").show_default();
  o->add(*c);
  c->group(Group::output);
  c->add_option("--output,-o", o->output, "Profile to write, and to go on with when it is there").show_default();
  return {c, [o, c, &common] { return run(*c, *o, common); }};
}

}  // namespace vivace::cli
