#include "interrupt.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace vivace::cli {
namespace {

volatile std::sig_atomic_t g_uninterrupted = 0, g_interrupted = 0;
bool g_terminal = false;

void on_signal(int signal) {
  // A second signal does not wait.
  if (g_uninterrupted && !g_interrupted) {
    g_interrupted = 1;
    return;
  }
  // The line break ends a progress bar.
  const char* message = g_terminal ? "\nvivace: interrupted; nothing was written\n" : "vivace: interrupted; nothing was written\n";
  if (g_interrupted) message = "\nvivace: interrupted\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, std::strlen(message));
  ::_exit(128 + signal);
}

}  // namespace

void handle_interrupts() {
  g_terminal = ::isatty(STDERR_FILENO);
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool interrupted() { return g_interrupted != 0; }

Uninterrupted::Uninterrupted() { g_uninterrupted = 1; }
Uninterrupted::~Uninterrupted() { g_uninterrupted = 0; }

}  // namespace vivace::cli
