// vivace bench-component: seconds a forward of one component. The contestant of bench/compare_torch.py.
#include <algorithm>
#include <chrono>
#include <iostream>

#include "base/json.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/seconds.h"
#include "commands.h"
#include "compiler/measure.h"
#include "component_target.h"
#include "output.h"
#include "plan_text.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct BenchComponentFlags : TargetOptions {
  int runs = 5;
  bool worker = false;
};

using Clock = std::chrono::steady_clock;

// Of a forward, as a caller of the component pays for it: what depends on the prompt included.
double flops_of_call(const Plan& plan) {
  double sum = 0;
  for (const auto* program : {&plan.setup, &plan.step})
    for (const PlanStep& step : *program) sum += flops(plan, step);
  return sum;
}

void print_line(const nlohmann::json& value) { print(json_text(value) + "\n"); }

// Answers each line of the input with the seconds of one run.
int serve(Session& session, Request& request, Clock::time_point begin) {
  print_line({{"ready", seconds_since(begin)}});
  for (std::string line; std::getline(std::cin, line);) print_line({{"seconds", time_call(session, request)}});
  return 0;
}

int run_bench_component(const BenchComponentFlags& o, const Common& common) {
  if (o.runs < 1) throw UsageError(cat("--runs is ", o.runs, ": expected 1 or more"));
  const auto begin = Clock::now();
  ComponentTarget target(o);
  const double loading = seconds_since(begin);
  Request request;
  const SessionLease lease = target.session(request);
  Session& session = *lease;
  const double first = time_call(session, request);
  if (o.worker) return serve(session, request, begin);
  std::vector<double> seconds(static_cast<size_t>(o.runs));
  for (double& run : seconds) run = time_call(session, request);
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  const size_t n = sorted.size();
  const double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  const Plan& plan = session.plan();
  const double compiling = target.component().seconds_compiling(), preparing = target.component().seconds_preparing();
  const int64_t resident = peak_resident_bytes();
  const double operations = flops_of_call(plan);
  if (common.json) {
    print_line({{"component", target.name()},
                {"model", o.model},
                {"dtype", dtype_name(target.dtype())},
                {"height", target.height()},
                {"width", target.width()},
                {"batch", o.batch},
                {"threads", num_threads()},
                {"compile", compile_mode_name(target.compile_options().mode)},
                {"load_seconds", loading},
                {"compile_seconds", compiling},
                {"prepare_seconds", preparing},
                {"first_seconds", first},
                {"arena_bytes", plan.arena_bytes},
                {"constant_bytes", plan.constant_bytes},
                {"peak_resident_bytes", resident},
                {"flops", operations},
                {"steps_recorded", request.counters.steps_recorded},
                {"steps_replayed", request.counters.steps_replayed},
                {"min", sorted[0]},
                {"median", median},
                {"seconds", seconds}});
    return 0;
  }
  print(cat(target.name(), " ", dtype_name(target.dtype()), " ", target.height(), "x", target.width(), " batch ", o.batch, ", ", num_threads(),
            " threads: min ", fixed(sorted[0], 4), " s, median ", fixed(median, 4), " s of ", n, " (the first took ", fixed(first, 4), " s), ",
            fixed(operations / 1e12 / std::max(sorted[0], 1e-12), 3), " TFLOP/s\nloading ", fixed(loading, 3), " s, compiling ", fixed(compiling, 3),
            " s, preparing ", fixed(preparing, 3), " s; planned ", bytes_text(static_cast<double>(plan.arena_bytes)), " activations and ",
            bytes_text(static_cast<double>(plan.constant_bytes)), " weights, measured peak ", bytes_text(static_cast<double>(resident)),
            " resident\n"));
  return 0;
}

}  // namespace

Command add_bench_component(Arguments& app, const Common& common) {
  auto o = std::make_shared<BenchComponentFlags>();
  Arguments* c = app.add_subcommand("bench-component", "Seconds a forward of one component, with made-up inputs");
  c->add_option("component", o->component, "unet, transformer, vae.decode, text_encoder, ...").required();
  c->add_option("--runs", o->runs, "Timed forwards, after one that is not").show_default();
  c->add_flag("--worker", o->worker, "Stay: print {\"ready\": s}, then answer each line of input with {\"seconds\": s} (bench/compare_torch.py)");
  o->add(*c);
  return {c, [o, &common] { return run_bench_component(*o, common); }};
}

}  // namespace vivace::cli
