#include "base/lost_pages.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>

namespace vivace {
namespace {

// Read by a signal handler, hence without locks or memory of its own. A slot belongs to whoever has set its `data`; `size` 0: not ready to be read.
struct Mapping {
  std::atomic<const std::byte*> data{nullptr};
  std::atomic<size_t> size{0};
  std::atomic<const char*> path{nullptr};
};
std::array<Mapping, 1024> g_mappings;  // a checkpoint in shards has some dozens of files
const char* g_program = "";

void say(const char* text) { [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text)); }

void on_bus_error(int, siginfo_t* signal, void*) {
  const auto* address = static_cast<const std::byte*>(signal->si_addr);
  for (const Mapping& m : g_mappings) {
    const std::byte* begin = m.data;
    const size_t size = m.size;
    if (!begin || address < begin || address >= begin + size) continue;
    if (::isatty(STDERR_FILENO)) say("\n");  // ends a progress bar
    for (const char* text : {g_program, ": ", m.path.load(), ": changed while it was in use: it was cut short, or its disk failed; start again\n"})
      say(text);
    ::_exit(1);
  }
  std::signal(SIGBUS, SIG_DFL);  // the access is tried again, and ends the process
}

}  // namespace

void explain_lost_pages(const char* program) {
  g_program = program;
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void remember_mapping(const std::byte* data, size_t size, const char* path) {
  for (Mapping& m : g_mappings) {
    const std::byte* none = nullptr;
    if (!m.data.compare_exchange_strong(none, data)) continue;
    m.path = path;
    m.size = size;
    return;
  }
}

void forget_mapping(const std::byte* data) {
  for (Mapping& m : g_mappings) {
    if (m.data != data) continue;
    m.size = 0;
    m.data = nullptr;
    return;
  }
}

}  // namespace vivace
