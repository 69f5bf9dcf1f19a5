#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <mutex>

#include "base/utf8.h"

namespace vivace {
namespace {
std::atomic<LogLevel> g_level{LogLevel::warning};
std::mutex g_mutex;
std::function<void(LogLevel, const std::string&)> g_sink;
}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void set_log_sink(std::function<void(LogLevel, const std::string&)> sink) {
  std::lock_guard lock(g_mutex);
  g_sink = std::move(sink);
}

void log_message(LogLevel level, const std::string& text) {
  if (level > g_level) return;
  std::lock_guard lock(g_mutex);
  if (g_sink) return g_sink(level, text);
  const char* prefix = level == LogLevel::error ? "error: " : level == LogLevel::warning ? "warning: " : "";
  std::fprintf(stderr, "%s%s\n", prefix, printable(text).c_str());
}

}  // namespace vivace
