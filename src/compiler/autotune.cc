#include "compiler/autotune.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <set>

#include "base/build_id.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/pool.h"
#include "base/seconds.h"
#include "compiler/measure.h"
#include "ops/flops.h"
#include "runtime/device.h"

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNear = 1.1;      // so much slower than the best in one run, a candidate may still be the best
constexpr double kHopeless = 1.6;  // a kernel so much slower with its defaults is not helped by its parameters
constexpr double kNoise = 0.97;    // what a candidate must beat the default by
constexpr int kRounds = 4;         // of runs of those near the best
constexpr size_t kReported = 6;

std::string operand_text(const Operand& o) {
  return cat(dtype_name(o.dtype), to_string(o.shape), o.pitch ? cat('/', o.pitch) : std::string(), o.constant ? "c" : "");
}

double cost(const KernelCall& call) {
  return flops(
             call.op, *call.attrs, [&](size_t i) -> const Shape& { return call.in[i]->shape; }, call.out.shape) +
         static_cast<double>(numel(call.out.shape));
}

// Bytes of the constants of all calls, as the model holds them.
size_t weight_bytes(std::span<const TuningRequest> requests) {
  size_t bytes = 0;
  for (const TuningRequest& request : requests)
    for (const auto& in : request.call.in)
      if (in && in->constant) bytes += static_cast<size_t>(numel(in->shape)) * dtype_size(in->dtype) * static_cast<size_t>(request.occurrences);
  return bytes;
}

// The search for one call.
class Search {
 public:
  Search(const TuningRequest& request, const CompilerFlags& flags, double seconds, size_t weights, const TimingMemory& memory, const Request& caller)
      : request_(request),
        flags_(flags),
        begin_(Clock::now()),
        seconds_(seconds),
        device_(memory.device()),
        caller_(caller),
        timer_(request.call, memory, weights, caller.stop) {}

  TuningResult run() {
    list();
    if (flags_.coordinate_descent_tuning) descend();
    return {report(), seconds_since(begin_), static_cast<int>(seen_.size())};
  }

 private:
  struct Trial {
    const KernelEntry* entry;
    std::string tuning;
    double seconds;
  };

  bool out_of_time() const { return seconds_since(begin_) > seconds_; }
  double best() const { return std::ranges::min_element(trials_, {}, &Trial::seconds)->seconds; }

  // Times a setting that has not been timed; whether it is the best now. One that the device cannot run is left out, but for the call's default.
  bool attempt(const KernelEntry& entry, const std::string& tuning) {
    if (!seen_.insert(cat(entry.name, ' ', tuning)).second) return false;
    const Turn alone(pool_turns(), caller_.stop);
    caller_.check();
    // A kernel's first run has page faults and cold caches, which of a long one are a small part.
    constexpr double kLong = 0.005;
    const bool warm_up = std::ranges::find(trials_, &entry, &Trial::entry) == trials_.end() && (trials_.empty() || best() < kLong);
    const double before = trials_.empty() ? 1e30 : best();
    try {
      trials_.push_back({&entry, tuning, timer_.time(entry, tuning, {.runs = 1, .warm_up = warm_up}).min});
    } catch (const DeviceError& error) {
      if (trials_.empty()) throw;
      warn("max-autotune leaves out kernel ", entry.name, tuning.empty() ? "" : " with ", tuning, ", which fails: ", error.what());
      return false;
    }
    caller_.check();
    return trials_.back().seconds < before;
  }

  void time_again(Trial& trial) {
    const Turn alone(pool_turns(), caller_.stop);
    caller_.check();
    const Timing timing = timer_.time(*trial.entry, trial.tuning, {.runs = 1, .warm_up = false});
    caller_.check();
    trial.seconds = std::min(trial.seconds, timing.min);
  }

  void list() {
    for (const KernelEntry* entry : request_.candidates)
      if (trials_.empty() || !out_of_time()) attempt(*entry, "");
    // A slow moment may have hit any of them: whatever the time, none is ruled out by one run.
    for (Trial& trial : trials_)
      if (trial.seconds < kHopeless * best()) time_again(trial);
    const std::vector<Trial> defaults = trials_;
    for (const Trial& trial : defaults) {
      if (trial.seconds > kHopeless * best()) continue;
      // In strides, so that a search that ends early has seen a bit of everything.
      const std::vector<std::string> variants = offer_of(*trial.entry)->variants();
      constexpr size_t kStride = 7;
      for (size_t offset = 0; offset < kStride; ++offset)
        for (size_t i = offset; i < variants.size() && !out_of_time(); i += kStride) attempt(*trial.entry, variants[i]);
    }
    repeat_near_best();
  }

  void repeat_near_best() {
    for (int round = 0; round < kRounds; ++round) {
      const double limit = kNear * best();
      for (Trial& trial : trials_) {
        if (out_of_time()) return;
        // The default is the measure of all the others.
        if (trial.seconds > limit && &trial != &trials_[0]) continue;
        time_again(trial);
      }
    }
  }

  // The values of `parameters` in a tuning text.
  static std::vector<int> values_of(const std::vector<TuningParameter>& parameters, const std::string& tuning) {
    std::vector<int> values;
    values.reserve(parameters.size());
    for (const TuningParameter& p : parameters) values.push_back(tuning_value(tuning, p.name, p.chosen));
    return values;
  }

  // The values beside `value`, up to one on each side.
  static std::vector<int> neighbours(const TuningParameter& parameter, int value) {
    const std::vector<int>& all = parameter.values;
    const auto at = std::ranges::find(all, value);
    std::vector<int> result;
    if (at == all.end()) {
      const auto above = std::ranges::lower_bound(all, value);
      if (above != all.begin()) result.push_back(above[-1]);
      if (above != all.end()) result.push_back(*above);
      return result;
    }
    if (at != all.begin()) result.push_back(at[-1]);
    if (at + 1 != all.end()) result.push_back(at[1]);
    return result;
  }

  void descend() {
    bool moved = true;
    while (moved && !out_of_time()) {
      const Trial from = *std::ranges::min_element(trials_, {}, &Trial::seconds);
      const std::vector<TuningParameter> parameters = offer_of(*from.entry)->parameters();
      if (parameters.empty()) return;
      const std::vector<int> values = values_of(parameters, from.tuning);
      moved = single_steps(*from.entry, parameters, values);
      if (!moved && flags_.coordinate_descent_check_all_directions) moved = all_directions(*from.entry, parameters, values);
    }
    repeat_near_best();
  }

  // Of the call with the kernel's defaults.
  std::unique_ptr<const Offer> offer_of(const KernelEntry& entry) const { return entry.ask(request_.call, device_.target()).offer; }

  bool single_steps(const KernelEntry& entry, const std::vector<TuningParameter>& parameters, std::vector<int> values) {
    bool moved = false;
    for (size_t i = 0; i < parameters.size(); ++i)
      for (int value : neighbours(parameters[i], values[i])) {
        if (out_of_time()) return false;
        std::vector<int> next = values;
        next[i] = value;
        if (!attempt(entry, tuning_text(parameters, next))) continue;
        values = std::move(next);
        moved = true;
      }
    return moved;
  }

  bool all_directions(const KernelEntry& entry, const std::vector<TuningParameter>& parameters, const std::vector<int>& values) {
    std::vector<std::vector<int>> choices;
    size_t count = 1;
    for (size_t i = 0; i < parameters.size(); ++i) {
      choices.push_back(neighbours(parameters[i], values[i]));
      choices.back().push_back(values[i]);
      count *= choices.back().size();
    }
    bool moved = false;
    for (size_t combination = 0; combination < count && !out_of_time(); ++combination) {
      std::vector<int> next;
      size_t rest = combination;
      for (const std::vector<int>& choice : choices) {
        next.push_back(choice[rest % choice.size()]);
        rest /= choice.size();
      }
      moved |= attempt(entry, tuning_text(parameters, next));
    }
    return moved;
  }

  std::vector<PlanCandidate> report() {
    const Trial first = trials_[0];
    std::ranges::stable_sort(trials_, {}, &Trial::seconds);
    std::vector<PlanCandidate> result;
    const auto add = [&](const Trial& t) {
      if (std::ranges::none_of(result, [&](const PlanCandidate& c) { return c.kernel == t.entry->name && c.tuning == t.tuning; }))
        result.push_back({t.entry->name, t.tuning, t.seconds});
    };
    if (trials_[0].seconds > kNoise * first.seconds) add(first);
    for (size_t i = 0; i < std::min(kReported, trials_.size()); ++i) add(trials_[i]);
    add(first);
    // The best of each kernel.
    for (const KernelEntry* entry : request_.candidates)
      if (const auto best = std::ranges::find(trials_, entry, &Trial::entry); best != trials_.end()) add(*best);
    std::ranges::stable_sort(result.begin() + 1, result.end(), {}, &PlanCandidate::seconds);
    return result;
  }

  const TuningRequest& request_;
  const CompilerFlags& flags_;
  Clock::time_point begin_;
  double seconds_;
  const Device& device_;
  const Request& caller_;
  KernelTimer timer_;
  std::vector<Trial> trials_;
  std::set<std::string> seen_;
};

bool is_candidate(const TuningRequest& request, std::string_view kernel) {
  return std::ranges::any_of(request.candidates, [&](const KernelEntry* entry) { return entry->name == kernel; });
}

}  // namespace

std::string call_text(const KernelCall& call) {
  std::string text = cat(op_name(call.op), '(', print_attrs(*call.attrs), ')');
  for (const auto& in : call.in) text += in ? ' ' + operand_text(*in) : " _";
  return cat(text, " -> ", operand_text(call.out));
}

std::string tuning_key(const TuningRequest& request, const CompilerFlags& flags, std::string_view machine) {
  std::string key = cat(call_text(request.call), "; of");
  for (const KernelEntry* entry : request.candidates) key += cat(' ', entry->name);
  const char* how = !flags.coordinate_descent_tuning                ? "list"
                    : flags.coordinate_descent_check_all_directions ? "all directions"
                                                                    : "coordinate descent";
  return cat(key, "; ", how, "; ", machine, "; build ", build_id());
}

std::vector<TuningResult> autotune(std::span<const TuningRequest> requests, const CompileOptions& options, TuningStore& store, Device& device,
                                   Request& request) {
  const std::string machine = device.target().text;
  std::vector<TuningResult> results(requests.size());
  std::vector<size_t> order;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (auto known = store.find(tuning_key(requests[i], options.flags, machine)); known && is_candidate(requests[i], known->measured[0].kernel))
      results[i] = std::move(*known);
    else
      order.push_back(i);
  }
  const auto share = [&](size_t i) { return cost(requests[i].call) * requests[i].occurrences; };
  std::ranges::stable_sort(order, std::greater(), share);
  double rest = 0;
  for (size_t i : order) rest += share(i);
  const size_t weights = weight_bytes(requests);
  const TimingMemory memory(device);
  const auto begin = Clock::now();
  AutotuneProgress progress{.done = 0, .total = static_cast<int>(order.size()), .seconds = 0, .budget = options.autotune_seconds};
  for (size_t i : order) {
    const double left = options.autotune_seconds - seconds_since(begin);
    if (left <= 0) break;
    // What costs little still gets a look at its candidates: they take little too. But no search is worth more than so many runs of what it makes
    // faster, at a speed that every processor has.
    constexpr double kLeast = 0.05, kRuns = 100, kOperationsASecond = 1e11, kLook = 0.005;
    const double worth = std::max(kLook, kRuns * share(i) / kOperationsASecond);
    results[i] =
        Search(requests[i], options.flags, std::min({left, worth, std::max(kLeast, left * share(i) / rest)}), weights, memory, request).run();
    rest -= share(i);
    store.put(tuning_key(requests[i], options.flags, machine), results[i]);
    request.counters.settings_timed += results[i].settings;
    progress.done += 1;
    progress.seconds = seconds_since(begin);
    if (options.on_autotune) options.on_autotune(progress);
  }
#ifdef __GLIBC__
  malloc_trim(0);  // packed candidates would stay in the heap beside the weights to come
#endif
  return results;
}

}  // namespace vivace
