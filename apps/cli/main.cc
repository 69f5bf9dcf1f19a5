// The command line: options, errors and exit codes. 0 done, 1 failure, 2 wrong use, 130 interrupted.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "base/parallel.h"
#include "base/pin_threads.h"
#include "commands.h"
#include "idle_threads.h"
#include "interrupt.h"
#include "output.h"

namespace vivace::cli {
namespace {

// One line, whatever a library wrote.
int fail(int code, std::string what) {
  std::ranges::replace(what, '\n', ' ');
  std::fprintf(stderr, "vivace: %s\n", what.c_str());
  return code;
}

// A closed standard stream would give its number to the next file opened, and a message would end up in a picture.
void hold_standard_streams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    // Opened the wrong way round, so that using a stream that was closed still fails.
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

// The first argument, when it is no option and no subcommand.
std::string unknown_command(const CLI::App& app, const std::string& first) {
  if (first.empty() || first[0] == '-') return "";
  std::string known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == first) return "";
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  return cat("unknown subcommand \"", first, "\": expected one of ", known);
}

int parse_failed(const CLI::App& app, const CLI::ParseError& error, const std::string& first) {
  if (error.get_name() == "CallForHelp") print(app.help());
  if (error.get_name() == "CallForAllHelp") print(app.help("", CLI::AppFormatMode::All));
  if (error.get_name() == "CallForVersion") print(std::string(error.what()) + "\n");
  if (error.get_exit_code() == 0) return 0;
  if (const std::string unknown = unknown_command(app, first); !unknown.empty()) return fail(2, unknown);
  std::string command = "vivace";
  for (const CLI::App* chosen : app.get_subcommands()) command += ' ' + chosen->get_name();
  return fail(2, cat(error.what(), " (see ", command, " --help)"));
}

int run(int argc, char** argv) {
  CLI::App app{"Vivace runs Diffusers checkpoints. Try: vivace generate \"a red apple\" -o apple.png", "vivace"};
  app.set_version_flag("--version", std::string("vivace ") + VIVACE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_option("--threads", common.threads, "Threads; default: all cores this process may use");
  app.add_flag("--pin-threads", common.pin_threads, "Bind each thread to a core of its own");
  app.add_flag("--quiet,-q", common.quiet, "Print nothing but results and errors");
  app.add_flag("--verbose,-v", common.verbose, "Say what each phase took, in time and in memory");
  app.add_flag("--json", common.json, "Print figures as JSON");
  std::vector<Command> commands;
  for (const auto add : {add_generate, add_sheet, add_info, add_tokenize, add_explain, add_profile, add_tune, add_bench, add_bench_component, add_cache, add_export, add_make_random, add_quantize})
    commands.push_back(add(app, common));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parse_failed(app, error, argc > 1 ? argv[1] : "");
  }
  if (common.threads < 0 || common.threads > 4096) throw UsageError(cat("--threads is ", common.threads, ": expected 1 to 4096, or 0 for all cores"));
  set_num_threads(common.threads);
  if (common.pin_threads) pin_threads();
  if (common.verbose) set_log_level(LogLevel::info);
  if (common.quiet) set_log_level(LogLevel::error);
  for (const Command& command : commands)
    if (command.app->parsed()) return command.run();
  return 2;
}

}  // namespace

std::string default_model() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / "share" / "vivace" / "emoji-xl";
  return std::filesystem::is_directory(installed, ignored) ? installed.string() : VIVACE_DEFAULT_MODEL;
}

}  // namespace vivace::cli

int main(int argc, char** argv) {
  using namespace vivace;
  cli::spin_briefly(argv);
  cli::hold_standard_streams();
  cli::handle_interrupts();
  // A limit on file sizes or a closed pipe is reported by the write that meets it.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return cli::run(argc, argv);
  } catch (const Interrupted&) {
    return cli::fail(130, "interrupted; nothing was written");
  } catch (const UsageError& error) {
    return cli::fail(2, error.what());
  } catch (const InternalError& error) {
    return cli::fail(1, cat("internal error: ", error.what(), " (this is a bug in Vivace)"));
  } catch (const std::bad_alloc&) {
    return cli::fail(1, "out of memory: use a smaller size, batch or dtype");
  } catch (const std::exception& error) {
    return cli::fail(1, error.what());
  }
}
