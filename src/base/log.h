// Warnings and notes for the person at the terminal.
#pragma once

#include <locale>
#include <sstream>
#include <string>

#include "vivace/log.h"

namespace vivace {

void log_message(LogLevel level, const std::string& text);

// Joins its arguments as a stream would, and numbers as they are in C, whatever the program's locale: cat("got ", 3, " rows").
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
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
