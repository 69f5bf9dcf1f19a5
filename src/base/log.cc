#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>

#include "base/utf8.h"

namespace vivace {
namespace {

using Sink = std::function<void(LogLevel, const std::string&)>;

std::atomic<LogLevel> g_level{LogLevel::warning};
std::recursive_mutex g_mutex;  // a sink may log, and set another
std::shared_ptr<const Sink> g_sink;
bool g_in_sink = false;

struct InSink {
  InSink() { g_in_sink = true; }
  ~InSink() { g_in_sink = false; }
};

}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void set_log_sink(std::function<void(LogLevel, const std::string&)> sink) {
  auto next = sink ? std::make_shared<const Sink>(std::move(sink)) : nullptr;
  const std::lock_guard lock(g_mutex);
  g_sink.swap(next);
}

void log_message(LogLevel level, const std::string& text) {
  if (level > g_level) return;
  const std::lock_guard lock(g_mutex);
  if (const auto sink = g_sink; sink && !g_in_sink) {
    const InSink in_sink;
    return (*sink)(level, text);
  }
  const char* prefix = level == LogLevel::error ? "error: " : level == LogLevel::warning ? "warning: " : "";
  std::fprintf(stderr, "%s%s\n", prefix, printable(text).c_str());
}

}  // namespace vivace
