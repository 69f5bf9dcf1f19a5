// The subcommands. Each adds its options to the program and, when chosen, runs through the function it hands back.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "vivace/vivace.h"

namespace vivace::cli {

// What every subcommand understands.
struct Common {
  int threads = 0;  // 0: all cores this process may use
  bool pin_threads = false;
  bool quiet = false, verbose = false, json = false;
};

struct Command {
  CLI::App* app;
  std::function<int()> run;  // returns the exit code; errors are thrown
};

Command add_generate(CLI::App& app, const Common& common);
Command add_sheet(CLI::App& app, const Common& common);
Command add_info(CLI::App& app, const Common& common);
Command add_tune(CLI::App& app, const Common& common);
Command add_tokenize(CLI::App& app, const Common& common);
Command add_explain(CLI::App& app, const Common& common);
Command add_profile(CLI::App& app, const Common& common);
Command add_bench(CLI::App& app, const Common& common);
Command add_bench_component(CLI::App& app, const Common& common);
Command add_cache(CLI::App& app, const Common& common);
Command add_export(CLI::App& app, const Common& common);
Command add_make_random(CLI::App& app, const Common& common);
Command add_quantize(CLI::App& app, const Common& common);

// The folder of the model that comes with Vivace: beside the installed program, or in the source tree it was built from.
std::string default_model();

}  // namespace vivace::cli
