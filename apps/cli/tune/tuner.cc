#include "tune/tuner.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/log.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

class Tuner {
 public:
  Tuner(const TunerWorld& world, ProfileFile& file, const DriftBound& bound) : world_(world), file_(file), bound_(bound) {}

  TuneResult run() {
    choose_dtype();
    candidates_ = world_.candidates(base_);
    take(measure_candidates());
    return result_;
  }

 private:
  struct Found {
    Candidate candidate;
    Measured measured;
  };

  void say(const std::string& name, const Measured& m) {
    char figures[80];
    std::snprintf(figures, sizeof figures, " %+6.1f %% time, noise %.1f %%, ", -100 * m.gain(), 100 * m.noise);
    std::string line = name;
    line.resize(std::max<size_t>(line.size(), 40), ' ');
    world_.say(line + figures + bound_.text(m.drift));
  }

  // None where the setting draws nothing (float16 that ends in a NaN, weights without room), which is told.
  std::optional<Measured> tried(const std::string& name, const PretrainedOptions& base, const PretrainedOptions& setting) {
    try {
      const Measured m = world_.measure(base, setting);
      say(name, m);
      return m;
    } catch (const UserError& error) {
      if (base_measured_.seconds == 0) throw;  // it is plain float32 that fails
      world_.say(cat(name, " is left out: ", error.what()));
      return std::nullopt;
    }
  }

  // What the file knows, or else measured now and kept there.
  std::optional<Measured> measured(const std::string& name, const PretrainedOptions& base, const PretrainedOptions& setting) {
    if (const std::optional<Measured> known = file_.find(name)) return known;
    const std::optional<Measured> m = tried(name, base, setting);
    if (m) file_.add(name, *m);
    return m;
  }

  void choose(const PretrainedOptions& setting, const std::vector<std::string>& names, const Measured& m) {
    file_.choose(setting, names, m);
    result_ = {names, m};
  }

  // Compiled float32 is the reference but for the order of its sums; it is there even under a bound that nothing meets.
  void choose_dtype() {
    const PretrainedOptions plain = setting_of(float32, {}, {});
    double least = 0;
    for (DType dtype : {float32, bfloat16, float16}) {
      if (dtype != float32 && world_.time_is_up()) break;
      const PretrainedOptions setting = setting_of(dtype, {}, {});
      const std::optional<Measured> m = measured(cat("dtype ", dtype_name(dtype)), plain, setting);
      if (!m || (dtype != float32 && (!bound_.holds(m->drift) || !m->counts() || m->gain() < least))) continue;
      if (dtype != float32) least = m->gain();
      base_ = setting;
      base_measured_ = *m;
      choose(setting, {}, *m);
    }
  }

  std::vector<Found> measure_candidates() {
    std::vector<Found> found;
    double most = 0;
    for (const Candidate& candidate : candidates_) {
      const std::string name = cat(candidate.name, " in ", dtype_name(base_.dtype));
      if (world_.time_is_up() && !file_.find(name)) break;
      const PretrainedOptions setting = setting_of(base_.dtype, candidates_, {&candidate, 1});
      const std::optional<Measured> m = measured(name, base_, setting);
      if (!m || !bound_.holds(m->drift) || !m->counts()) continue;
      found.push_back({candidate, *m});
      // Whoever is interrupted has the best single one.
      if (m->gain() > most) choose(setting, {candidate.name}, *m);
      most = std::max(most, m->gain());
    }
    return found;
  }

  // By gain per drift, as many as the bound allows when they are all on: the longest beginning of the list that holds and gains, by bisection.
  void take(std::vector<Found> found) {
    const auto worth = [&](const Found& f) { return f.measured.gain() / (bound_.cost(f.measured.drift) + 1e-12); };
    std::ranges::stable_sort(found, [&](const Found& a, const Found& b) { return worth(a) > worth(b); });
    std::vector<Candidate> order;
    for (const Found& f : found)
      if (f.candidate.knob.empty() || std::ranges::none_of(order, [&](const Candidate& c) { return c.knob == f.candidate.knob; }))
        order.push_back(f.candidate);
    size_t holds = 0, fails = order.size() + 1;
    for (size_t count = order.size(); count > holds; count = (holds + fails) / 2) {
      if (world_.time_is_up()) return;
      const std::span<const Candidate> chosen(order.data(), count);
      const PretrainedOptions setting = setting_of(base_.dtype, candidates_, chosen);
      const std::optional<Measured> m = tried(cat(count, " together"), base_, setting);
      if (!m || !bound_.holds(m->drift) || !m->counts()) {
        fails = count;
        continue;
      }
      holds = count;
      std::vector<std::string> names;
      for (const Candidate& c : chosen) names.push_back(c.name);
      choose(setting, names, *m);
    }
    // What seemed to gain alone and did not when it was measured again was noise.
    if (holds == 0) choose(base_, {}, base_measured_);
  }

  const TunerWorld& world_;
  ProfileFile& file_;
  const DriftBound& bound_;
  PretrainedOptions base_;
  Measured base_measured_;
  std::vector<Candidate> candidates_;
  TuneResult result_;
};

}  // namespace

TuneResult tune(const TunerWorld& world, ProfileFile& file, const DriftBound& bound) { return Tuner(world, file, bound).run(); }

}  // namespace vivace::cli
