// The command line: options, errors and exit codes. 0 done, 1 failure, 2 wrong use, 130 interrupted.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "base/lost_pages.h"
#include "base/parallel.h"
#include "base/utf8.h"
#include "commands.h"
#include "idle_threads.h"
#include "interrupt.h"
#include "output.h"
#include "vivace/version.h"

namespace vivace::cli {
namespace {

// One line, whatever a library or a file wrote.
int fail(int code, const std::string& what) {
  std::fprintf(stderr, "vivace: %s\n", printable(what).c_str());
  return code;
}

// A closed standard stream would give its number to the next file opened, and a message would end up in a picture.
void hold_standard_streams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    // Opened the wrong way round, so that using a stream that was closed still fails.
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int run(int argc, char** argv) {
  Arguments program("vivace", "Vivace runs Diffusers checkpoints. Try: vivace generate \"a red apple\" -o apple.png");
  program.add_action(
      "--version", [] { throw Printed{std::string("vivace ") + VIVACE_VERSION + '\n'}; }, "Print the version");
  Common common;
  program.add_option("--threads", common.threads, "Threads; default, and 0: all cores this process may use");
  program.add_flag("--pin-threads", common.pin_threads, "Bind each thread to a core of its own");
  const Option& quiet = program.add_flag("--quiet,-q", common.quiet, "Print nothing but results and errors");
  program.add_flag("--verbose,-v", common.verbose, "Say what each phase took, in time and in memory").excludes(quiet);
  program.add_flag("--json", common.json, "Print figures as JSON");
  std::vector<Command> commands;
  for (const auto add : {add_generate, add_sheet, add_info, add_tokenize, add_explain, add_profile, add_tune, add_bench, add_bench_component,
                         add_cache, add_export, add_make_random, add_quantize, add_serve})
    commands.push_back(add(program, common));
  try {
    program.parse(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const Printed& asked) {
    print(asked.text);
    return 0;
  }
  if (common.threads < 0 || common.threads > 4096) throw UsageError(cat("--threads is ", common.threads, ": expected 1 to 4096, or 0 for all cores"));
  const int cores = num_threads();
  set_num_threads(common.threads);
  parallel_threads([](int, int) {});  // started first: where few threads are allowed, these are the ones that OpenMP cannot do without
  if (common.pin_threads) pin_threads();
  if (common.verbose) set_log_level(LogLevel::info);
  if (common.quiet) set_log_level(LogLevel::error);
  if (common.threads > cores)
    warn("--threads is ", common.threads, ", and this process may use ", cores, cores == 1 ? " core" : " cores",
         ": more threads than cores are slower");
  for (const Command& command : commands)
    if (command.arguments == program.chosen()) return command.run();
  return 2;
}

}  // namespace
}  // namespace vivace::cli

int main(int argc, char** argv) {
  using namespace vivace;
  cli::spin_briefly(argv);
  cli::hold_standard_streams();
  cli::handle_interrupts();
  explain_lost_pages("vivace");
  // A limit on file sizes or a closed pipe is reported by the write that meets it.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return cli::run(argc, argv);
  } catch (const Interrupted&) {
    return cli::fail(cli::interrupted_code(), "interrupted; nothing was written");
  } catch (const UsageError& error) {
    return cli::fail(2, error.what());
  } catch (const InternalError& error) {
    return cli::fail(1, cat("internal error: ", error.what(), " (this is a bug in Vivace)"));
  } catch (const std::bad_alloc&) {
    return cli::fail(1, "out of memory: use a smaller size, batch or dtype");
  } catch (const std::filesystem::filesystem_error& error) {
    return cli::fail(1, cat(error.path1().string(), ": ", error.code().message()));
  } catch (const std::exception& error) {
    return cli::fail(1, error.what());
  }
}
