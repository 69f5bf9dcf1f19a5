// Warnings and notes for the person at the terminal. A library caller can take them over with set_log_sink.
#pragma once

#include <functional>
#include <sstream>
#include <string>

namespace vivace {

enum class LogLevel { error, warning, info, debug };

void set_log_level(LogLevel level);  // default: warning
LogLevel log_level();
// Receives each message without a trailing newline. nullptr restores stderr.
void set_log_sink(std::function<void(LogLevel, const std::string&)> sink);
void log_message(LogLevel level, const std::string& text);

// Joins its arguments as a stream would: cat("got ", 3, " rows").
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

template <class... Args>
void warn(const Args&... args) {
  log_message(LogLevel::warning, cat(args...));
}
template <class... Args>
void info(const Args&... args) {
  if (log_level() >= LogLevel::info) log_message(LogLevel::info, cat(args...));
}

}  // namespace vivace
