// How long work is told to end early.
#pragma once

#include <stop_token>

namespace vivace {

// Looked at between two blocks of work, of a few milliseconds at most; what is stopped leaves its result unfinished. nullptr: nobody stops it.
using Stop = const std::stop_token*;

inline bool stopped(Stop stop) { return stop && stop->stop_requested(); }

}  // namespace vivace
