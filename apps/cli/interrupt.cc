#include "interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "vivace/error.h"

namespace vivace::cli {
namespace {

volatile std::sig_atomic_t g_uninterrupted = 0, g_interrupted = 0;
bool g_terminal = false;
int g_pipe[2] = {-1, -1};  // from the handler, which may do little more than write, to the thread that asks for the stop

void on_signal(int signal) {
  // A second signal does not wait.
  if (g_uninterrupted && !g_interrupted) {
    const int error = errno;
    g_interrupted = signal;
    if (g_pipe[1] >= 0) {
      [[maybe_unused]] const auto asked = ::write(g_pipe[1], "", 1);
    }
    errno = error;
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
int interrupted_code() { return 128 + (g_interrupted ? g_interrupted : SIGINT); }

std::stop_token interruption() {
  static const std::stop_token token = [] {
    std::stop_source source;
    if (::pipe2(g_pipe, O_CLOEXEC) != 0) return source.get_token();
    try {
      std::thread([source]() mutable {
        char byte;
        while (::read(g_pipe[0], &byte, 1) < 0 && errno == EINTR) {
        }
        source.request_stop();
      }).detach();
    } catch (const std::system_error&) {
      // No thread is to be had: the call ends with what it does, or with a second signal.
    }
    return source.get_token();
  }();
  return token;
}

Uninterrupted::Uninterrupted() { g_uninterrupted = 1; }
Uninterrupted::~Uninterrupted() { g_uninterrupted = 0; }

int write_folder(const std::string& folder, const std::function<void()>& write) {
  std::error_code ignored;  // where nobody may look, nothing can be written either
  const bool existed = std::filesystem::exists(folder, ignored);
  const auto remove = [&] {
    if (!existed) std::filesystem::remove_all(folder, ignored);
  };
  try {
    write();
  } catch (const Interrupted&) {
    if (existed) {
      std::fprintf(stderr, "vivace: interrupted; %s holds old and new files, and the same command makes it whole\n", folder.c_str());
      return interrupted_code();
    }
    remove();
    throw;
  } catch (...) {
    remove();
    throw;
  }
  return 0;
}

}  // namespace vivace::cli
