// What a pipeline's components took: time to compile and prepare, and memory as planned beside memory as measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vivace/pipeline.h"

namespace vivace::cli {

struct ComponentFigures {
  std::string name;
  double seconds_compiling = 0, seconds_resizing = 0, seconds_preparing = 0;
  int64_t arena_bytes = 0, constant_bytes = 0, waiting_bytes = 0;  // waiting: weights in the host's memory, copied as they are read
};

// Of the components that have run.
std::vector<ComponentFigures> component_figures(DiffusionPipeline& pipe);
// A table of them, and the process's peak.
std::string memory_table(const std::vector<ComponentFigures>& components);

}  // namespace vivace::cli
