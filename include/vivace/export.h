// Ahead-of-time compilation: a pipeline compiled for some sizes, with everything that a run needs, as a package on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vivace/api.h"
#include "vivace/pipeline.h"

namespace vivace VIVACE_API {

struct ExportOptions {
  std::vector<Size> sizes;          // height and width of the calls that it serves; none: the model's own size
  std::optional<int> num_frames;    // of a video; default: the class's
  std::optional<int64_t> max_area;  // Kontext: pixels of its pictures, of which height and width say the shape alone, as in a call
  int64_t batch = 1;                // pictures a call makes: prompts times num_images_per_prompt. With guidance and without are both compiled
  std::vector<int> clip_skip{1};    // values of clip_skip that it serves beside none
  // Prepared weights inside. Without, the package names the checkpoint it came from, which must stay there, and prepares them at every start (or
  // reads them from the cache).
  bool weights = true;
  // Before each file that is written. Throwing (Interrupted) leaves nothing behind.
  std::function<void(const std::string& file)> on_file;
};

// Writes the folder `path` (sdxl.vivace): DiffusionPipeline::from_pretrained(path) then runs without building a graph or compiling, with the dtype
// and the compile options that `pipe` has now. A package that is there already is replaced, at once or not at all. docs/package-format.md describes
// it. Throws UserError when the folder cannot be written or holds something else, UsageError for a size the model cannot make.
void export_package(DiffusionPipeline& pipe, const std::filesystem::path& path, const ExportOptions& options = {});

}  // namespace VIVACE_API
