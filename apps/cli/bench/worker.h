// The benchmarked process: `vivace bench --worker`. It draws and tells; its parent (measure.h) keeps the clock of cold starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "options.h"

namespace vivace::cli {

// On standard output, a line of JSON each:
//   {"first": true}                                      when the first picture of the process is there
//   {"seconds": s, "steps": [..], "peak_resident_bytes": n, "height": ..., "width": ..., "scheduler": ...}   that picture once more, warm
// and, with `send`, for each prompt {"image": [H, W, 3], "latents": [steps, n]} and their float32 values.
int bench_worker(const PictureOptions& options, const std::vector<std::string>& prompts, uint64_t seed, bool send);

}  // namespace vivace::cli
