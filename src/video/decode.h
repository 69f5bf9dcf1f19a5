// The frames of a video file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "vivace/tensor.h"

namespace vivace {

// Throws UserError for a video of no pixels, or of more than fit into the memory of most machines. `name`: of its file.
void check_video_size(const std::string& name, int64_t frames, int64_t height, int64_t width);

// float32 [F, H, W, 3] in 0..1. Throws UserError that names the file.
Tensor decode_video(const std::filesystem::path& path);

}  // namespace vivace
