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
  bool quiet = false, verbose = false, json = false;
};

// A subcommand's body; returns the exit code. Errors are thrown.
using Body = std::function<int()>;

Body add_generate(CLI::App& app, const Common& common);

// The folder of the model that comes with Vivace: beside the installed program, or in the source tree it was built from.
std::string default_model();
// Set by SIGINT and SIGTERM; a run that sees it stops with Interrupted.
bool interrupted();

}  // namespace vivace::cli
