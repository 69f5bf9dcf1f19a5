// Prepared weights that do not fit into the device's memory wait in the host's, and come through two buffers, the lanes, as the steps that read them
// run: while the kernels of one segment compute, the weights of the next are copied. Where each lies is known with the program, so what was recorded
// of a step stays right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "runtime/plan.h"

namespace vivace {

struct Program;

inline constexpr size_t kAllResident = std::numeric_limits<size_t>::max();

struct WeightStream {
  struct Piece {
    int32_t value;
    size_t bytes, offset;  // in its lane
  };
  // Steps that follow one another, whose weights lie in a lane together: segment k in lane k % 2.
  struct Segment {
    size_t first_step = 0, bytes = 0;
    std::vector<Piece> pieces;
  };
  std::vector<Segment> setup, step;
  std::vector<Piece> resident;   // copied once
  std::vector<uint8_t> on_host;  // by value: all of these, where they are kept; empty where nothing waits
  size_t waiting_bytes = 0, resident_bytes = 0, lane_bytes = 0;

  bool is_on_host(size_t value) const { return !on_host.empty() && on_host[value]; }
  const std::vector<Segment>& segments(Phase phase) const { return phase == Phase::setup ? setup : step; }
};

// As many of the weights as `resident_bytes` hold stay on the device: those that each step reads before those that setup alone does, and small ones
// first, so that what is copied are few large pieces.
WeightStream stream_weights(const Program& program, size_t resident_bytes);

}  // namespace vivace
