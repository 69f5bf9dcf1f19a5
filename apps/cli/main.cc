// The command line: options, errors and exit codes. 0 done, 1 failure, 2 wrong use, 130 interrupted.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "base/parallel.h"
#include "commands.h"

namespace vivace::cli {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void on_signal(int signal) {
  // A second one does not wait for the step to end.
  if (g_interrupted) std::_Exit(128 + signal);
  g_interrupted = 1;
}

int fail(int code, const char* what) {
  std::fprintf(stderr, "vivace: %s\n", what);
  return code;
}

int run(int argc, char** argv) {
  CLI::App app{"Vivace runs Diffusers checkpoints. Try: vivace generate \"a red apple\" -o apple.png", "vivace"};
  app.set_version_flag("--version", std::string("vivace ") + VIVACE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_option("--threads", common.threads, "Threads; default: all cores this process may use");
  app.add_flag("--quiet,-q", common.quiet, "Print nothing but errors");
  app.add_flag("--verbose,-v", common.verbose, "Say what each phase took");
  app.add_flag("--json", common.json, "Print figures as JSON");
  std::vector<std::pair<CLI::App*, Body>> commands;
  for (const auto add : {add_generate}) {
    Body body = add(app, common);
    commands.emplace_back(app.get_subcommands([](CLI::App*) { return true; }).back(), std::move(body));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  if (common.threads < 0) throw UsageError("--threads must not be negative");
  set_num_threads(common.threads);
  if (common.verbose) set_log_level(LogLevel::info);
  if (common.quiet) set_log_level(LogLevel::error);
  for (const auto& [command, body] : commands)
    if (command->parsed()) return body();
  return 2;
}

}  // namespace

bool interrupted() { return g_interrupted != 0; }

std::string default_model() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / "share" / "vivace" / "emoji-xl";
  return std::filesystem::is_directory(installed, ignored) ? installed.string() : VIVACE_DEFAULT_MODEL;
}

}  // namespace vivace::cli

int main(int argc, char** argv) {
  using namespace vivace;
  std::signal(SIGINT, cli::on_signal);
  std::signal(SIGTERM, cli::on_signal);
  // A limit on file sizes or a closed pipe is reported by the write that meets it.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return cli::run(argc, argv);
  } catch (const Interrupted& error) {
    return cli::fail(130, "interrupted; nothing was written");
  } catch (const UsageError& error) {
    return cli::fail(2, error.what());
  } catch (const UserError& error) {
    return cli::fail(1, error.what());
  } catch (const std::bad_alloc&) {
    return cli::fail(1, "out of memory: use a smaller size, batch or dtype");
  } catch (const std::exception& error) {
    return cli::fail(1, error.what());
  }
}
