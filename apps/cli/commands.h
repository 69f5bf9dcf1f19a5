// The subcommands. Each adds its options to the program and, when chosen, runs through the function it hands back.
#pragma once

#include <functional>
#include <string>

#include "arguments.h"
#include "vivace/vivace.h"

namespace vivace::cli {

// What every subcommand understands.
struct Common {
  int threads = 0;  // 0: all cores this process may use
  bool pin_threads = false;
  bool quiet = false, verbose = false, json = false;
};

struct Command {
  Arguments* arguments;
  std::function<int()> run;  // returns the exit code; errors are thrown
};

Command add_generate(Arguments& app, const Common& common);
Command add_sheet(Arguments& app, const Common& common);
Command add_info(Arguments& app, const Common& common);
Command add_tune(Arguments& app, const Common& common);
Command add_tokenize(Arguments& app, const Common& common);
Command add_explain(Arguments& app, const Common& common);
Command add_profile(Arguments& app, const Common& common);
Command add_bench(Arguments& app, const Common& common);
Command add_bench_component(Arguments& app, const Common& common);
Command add_cache(Arguments& app, const Common& common);
Command add_export(Arguments& app, const Common& common);
Command add_make_random(Arguments& app, const Common& common);
Command add_quantize(Arguments& app, const Common& common);
Command add_serve(Arguments& app, const Common& common);

// The folder of the model that comes with Vivace: beside the installed program, or in the source tree it was built from.
std::string default_model();

}  // namespace vivace::cli
