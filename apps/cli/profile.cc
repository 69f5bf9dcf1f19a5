// vivace profile: where a component's time goes: by kernel, by op, by block, and step by step as a trace for Perfetto.
#include <algorithm>
#include <map>
#include <optional>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/parallel.h"
#include "commands.h"
#include "component_target.h"
#include "output.h"
#include "plan_text.h"
#include "runtime/memory_need.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct ProfileFlags : TargetOptions {
  int runs = 5, top = 15;
  std::string trace;
};

// Of some steps: time, arithmetic, and the seconds that these would take at the machine's peak and at its memory bandwidth, where these are known.
struct Share {
  int steps = 0;
  double seconds = 0, flops = 0, at_peak = 0, at_bandwidth = 0;

  void add(const Share& other) {
    steps += other.steps;
    seconds += other.seconds;
    flops += other.flops;
    at_peak += other.at_peak;
    at_bandwidth += other.at_bandwidth;
  }
};
using Shares = std::map<std::string, Share>;

// Of the arithmetic that a step multiplies in; float16 is stored only.
double peak_of(const MachinePeak& peak, const Plan& plan, const PlanStep& step) {
  const std::string& compute = step.attrs.text("compute");
  if (compute == "int8_dynamic") return peak.int8;
  if (compute == "float8_dynamic") return peak.bfloat16;
  if (step.traits & kInt16Products) return peak.int16;
  if (step.in.empty() || step.in[0] < 0) return peak.float32;
  const bool bf16 = step.attrs.text("matmul_precision") == "medium" || plan.values[static_cast<size_t>(step.in[0])].type.dtype == DType::bfloat16;
  return bf16 ? peak.bfloat16 : peak.float32;
}

// What a step reads and writes at least: of weights what they take as packed, by value in `constants`; tables are read in places only.
double moved_bytes(const Plan& plan, const PlanStep& step, const std::vector<size_t>& constants) {
  const auto bytes = [&](int32_t value) {
    const auto v = static_cast<size_t>(value);
    return static_cast<double>(constants[v] > 0 ? static_cast<int64_t>(constants[v]) : plan.values[v].type.bytes());
  };
  double moved = bytes(step.out);
  for (int32_t in : step.in)
    if (in >= 0 && step.op != Op::embedding && step.op != Op::select_row) moved += bytes(in);
  return moved;
}

// One program's steps with what each took in the fastest run.
struct Timed {
  const Plan& plan;
  const std::vector<PlanStep>& steps;
  std::vector<double> seconds;
  std::optional<MachinePeak> peak;
  const std::vector<size_t>& constants;  // what weights take, by value

  Share share(size_t i) const {
    const PlanStep& step = steps[i];
    Share share{.steps = 1, .seconds = seconds[i], .flops = flops(plan, step)};
    if (!peak) return share;
    share.at_peak = share.flops / peak_of(*peak, plan, step);
    share.at_bandwidth = moved_bytes(plan, step, constants) / peak->bytes;
    return share;
  }

  double total() const {
    double sum = 0;
    for (double s : seconds) sum += s;
    return sum;
  }
  template <class Key>
  Shares by(const Key& key) const {
    Shares shares;
    for (size_t i = 0; i < steps.size(); ++i) shares[key(steps[i])].add(share(i));
    return shares;
  }
};

std::vector<std::pair<std::string, Share>> largest_first(const Shares& shares) {
  std::vector<std::pair<std::string, Share>> sorted(shares.begin(), shares.end());
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  return sorted;
}

// With what of the peak steps reach, where `t` knows it.
std::vector<std::string> profile_header(const Timed& t, const char* what, const char* which) {
  std::vector<std::string> header{what, which, "ms", "%", "GFLOP", "GFLOP/s"};
  if (t.peak) header.insert(header.end(), {"% of peak", "% of memory"});
  return header;
}

std::vector<std::string> cells(const Timed& t, const std::string& name, const Share& s) {
  const double seconds = std::max(s.seconds, 1e-12);
  const bool computes = s.flops > 0;
  std::vector<std::string> row{name,
                               std::to_string(s.steps),
                               fixed(s.seconds * 1e3, 3),
                               fixed(100 * s.seconds / std::max(t.total(), 1e-12), 1),
                               computes ? fixed(s.flops / 1e9, 3) : "",
                               computes ? fixed(s.flops / 1e9 / seconds, 1) : ""};
  if (t.peak) row.insert(row.end(), {computes ? fixed(100 * s.at_peak / seconds, 1) : "", fixed(100 * s.at_bandwidth / seconds, 1)});
  return row;
}

std::string share_table(const Timed& t, const char* what, const Shares& shares) {
  Table table(profile_header(t, what, "steps"));
  for (const auto& [name, share] : largest_first(shares)) table.add(cells(t, name, share));
  return table.text() + '\n';
}

std::string slowest_table(const Timed& t, int top) {
  std::vector<size_t> order(t.steps.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return t.seconds[a] > t.seconds[b]; });
  Table table(profile_header(t, "slowest", "step"));
  for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(top)); ++i) {
    const PlanStep& step = t.steps[order[i]];
    Share share = t.share(order[i]);
    share.steps = static_cast<int>(order[i]);  // its number instead
    table.add(cells(t, cat(step.kernel, " ", step.scope, " ", type_text(t.plan, step.out)), share));
  }
  return table.text() + '\n';
}

nlohmann::json profile_json(const Timed& t, const Share& s) {
  const double seconds = std::max(s.seconds, 1e-12);
  nlohmann::json json{{"steps", s.steps}, {"seconds", s.seconds}, {"flops", s.flops}};
  if (t.peak) json.update({{"share_of_peak", s.at_peak / seconds}, {"share_of_memory", s.at_bandwidth / seconds}});
  return json;
}

nlohmann::json profile_json(const Timed& t, const Shares& shares) {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [name, s] : shares) result[name] = profile_json(t, s);
  return result;
}

nlohmann::json profile_json(const Timed& t) {
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < t.steps.size(); ++i) {
    nlohmann::json step = profile_json(t, t.share(i));
    step.erase("steps");
    step.update({{"op", op_name(t.steps[i].op)},
                 {"kernel", t.steps[i].kernel},
                 {"tuning", t.steps[i].tuning},
                 {"scope", t.steps[i].scope},
                 {"types", signature(t.plan, t.steps[i])}});
    list.push_back(std::move(step));
  }
  return list;
}

nlohmann::json profile_json(const std::optional<MachinePeak>& p) {
  if (!p) return nullptr;
  return {{"float32", p->float32}, {"bfloat16", p->bfloat16}, {"int16", p->int16}, {"int8", p->int8}, {"bytes", p->bytes}};
}

std::string peak_text(const MachinePeak& p, const Target& machine) {
  return cat("this machine, measured on ", num_threads(), " threads with ", machine.level_name, ": ", fixed(p.float32 / 1e9, 0),
             " GFLOP/s in float32, ", fixed(p.bfloat16 / 1e9, 0), " in bfloat16, ", fixed(p.int16 / 1e9, 0), " GOP/s in int16, ",
             fixed(p.int8 / 1e9, 0), " in int8; ", fixed(p.bytes / 1e9, 1),
             " GB/s read from memory (more than 100 % came out of a cache; Winograd's arithmetic is counted as a direct convolution's)\n");
}

// Complete events ("X") of Chrome's trace format, times in microseconds; a step lies inside the slices of its scope's parts.
class Trace {
 public:
  void add(const Timed& t) {
    for (size_t i = 0; i < t.steps.size(); ++i) {
      const PlanStep& step = t.steps[i];
      enter(step.scope);
      nlohmann::json args{{"kernel", step.kernel}, {"types", signature(t.plan, step)}};
      const Share share = t.share(i);
      const double seconds = std::max(share.seconds, 1e-12);
      if (share.flops > 0) args["GFLOP/s"] = share.flops / 1e9 / seconds;
      if (t.peak) args["% of memory"] = 100 * share.at_bandwidth / seconds;
      if (t.peak && share.flops > 0) args["% of peak"] = 100 * share.at_peak / seconds;
      event(std::string(op_name(step.op)), now_, t.seconds[i] * 1e6, std::move(args));
      now_ += t.seconds[i] * 1e6;
    }
    enter("");
  }
  std::string text() const { return json_text(nlohmann::json{{"traceEvents", events_}, {"displayTimeUnit", "ms"}}); }

 private:
  struct Open {
    std::string name;
    double begin;
  };
  void event(const std::string& name, double begin, double duration, nlohmann::json args) {
    events_.push_back({{"name", name}, {"ph", "X"}, {"ts", begin}, {"dur", duration}, {"pid", 1}, {"tid", 1}, {"args", std::move(args)}});
  }
  // Closes the slices that `scope` is not inside of, opens those it is.
  void enter(const std::string& scope) {
    std::vector<std::string> parts;
    for (size_t begin = 0; begin < scope.size();) {
      const size_t end = std::min(scope.find('.', begin), scope.size());
      parts.push_back(scope.substr(begin, end - begin));
      begin = end + 1;
    }
    size_t same = 0;
    while (same < open_.size() && same < parts.size() && open_[same].name == parts[same]) ++same;
    while (open_.size() > same) {
      event(open_.back().name, open_.back().begin, now_ - open_.back().begin, nlohmann::json::object());
      open_.pop_back();
    }
    for (size_t i = same; i < parts.size(); ++i) open_.push_back({parts[i], now_});
  }

  nlohmann::json events_ = nlohmann::json::array();
  std::vector<Open> open_;
  double now_ = 0;
};

std::vector<double> fastest_run(Session& session, Request& request, Phase phase, size_t steps, int runs) {
  std::vector<double> best;
  double least = 0;
  for (int r = 0; r < runs; ++r) {
    std::vector<double> seconds(steps);
    session.run_timed(phase, request, seconds);
    double total = 0;
    for (double s : seconds) total += s;
    if (!best.empty() && total >= least) continue;
    best = std::move(seconds);
    least = total;
  }
  return best;
}

int run_profile(const ProfileFlags& o, const Common& common) {
  if (o.runs < 1 || o.top < 0) throw UsageError("--runs must be 1 or more and --top not negative");
  if (!o.trace.empty()) check_writable(o.trace);
  ComponentTarget target(o);
  Request request;
  const SessionLease lease = target.session(request);
  Session& session = *lease;
  session.run(Phase::setup, request);
  session.run(Phase::step, request);  // first touches and a cold cache are nobody's cost
  const Plan& plan = session.plan();
  const std::optional<MachinePeak> peak = target.device().measure_peak();
  const std::vector<size_t> constants = constant_bytes(session.program());
  const Timed setup{plan, plan.setup, fastest_run(session, request, Phase::setup, plan.setup.size(), o.runs), peak, constants};
  const Timed step{plan, plan.step, fastest_run(session, request, Phase::step, plan.step.size(), o.runs), peak, constants};
  if (!o.trace.empty()) {
    Trace trace;
    trace.add(setup);
    trace.add(step);
    write_file(o.trace, trace.text());
  }
  const auto by_kernel = step.by([](const PlanStep& s) { return s.kernel; });
  const auto by_op = step.by([](const PlanStep& s) { return std::string(op_name(s.op)); });
  const auto by_block = step.by([](const PlanStep& s) { return block_of(s.scope); });
  double total_flops = 0;
  for (const auto& [name, share] : by_op) total_flops += share.flops;
  if (common.json) {
    print_json({{"component", target.name()},
                {"dtype", dtype_name(target.dtype())},
                {"height", target.height()},
                {"width", target.width()},
                {"batch", o.batch},
                {"threads", num_threads()},
                {"runs", o.runs},
                {"setup_seconds", setup.total()},
                {"step_seconds", step.total()},
                {"flops", total_flops},
                {"peak", profile_json(peak)},
                {"by_kernel", profile_json(step, by_kernel)},
                {"by_op", profile_json(step, by_op)},
                {"by_block", profile_json(step, by_block)},
                {"step", profile_json(step)}});
    return 0;
  }
  print(share_table(step, "kernel", by_kernel) + share_table(step, "op", by_op) + share_table(step, "block", by_block));
  if (o.top > 0) print(slowest_table(step, o.top));
  print(cat(target.name(), " in ", dtype_name(target.dtype()), " on ", num_threads(), " threads: ", fixed(step.total() * 1e3, 2),
            " ms a call (fastest of ", o.runs, "), ", fixed(total_flops / 1e9, 2), " GFLOP, ",
            fixed(total_flops / 1e9 / std::max(step.total(), 1e-12), 1), " GFLOP/s"));
  print(plan.setup.empty() ? std::string("\n") : cat("; setup ", fixed(setup.total() * 1e3, 2), " ms\n"));
  if (peak) print(peak_text(*peak, target.device().target()));
  return 0;
}

}  // namespace

Command add_profile(Arguments& app, const Common& common) {
  auto o = std::make_shared<ProfileFlags>();
  Arguments* c = app.add_subcommand("profile", "Where a component's time goes, by kernel, op and block");
  c->add_option("--component", o->component, "unet, transformer, vae.decode, text_encoder, ...; default: the denoiser");
  c->add_option("--runs", o->runs, "Timed calls; the fastest is shown").show_default();
  c->add_option("--top", o->top, "How many of the slowest steps to list; --json has all of them").show_default();
  c->add_option("--trace", o->trace, "File for a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open");
  o->add(*c);
  return {c, [o, &common] { return run_profile(*o, common); }};
}

}  // namespace vivace::cli
