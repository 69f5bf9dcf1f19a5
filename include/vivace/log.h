// Warnings and notes, which go to standard error unless they are taken over.
#pragma once

#include <functional>
#include <string>

#include "vivace/api.h"

namespace vivace VIVACE_API {

enum class LogLevel { error, warning, info, debug };

void set_log_level(LogLevel level);  // default: warning
LogLevel log_level();
// Receives each message of the level or below it, without a trailing newline, one at a time. What it logs itself goes to standard error. nullptr
// restores that for all.
void set_log_sink(std::function<void(LogLevel, const std::string&)> sink);

}  // namespace VIVACE_API
