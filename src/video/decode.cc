#include "video/decode.h"

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

void check_video_size(const std::string& name, int64_t frames, int64_t height, int64_t width) {
  constexpr int64_t kMostSide = 1 << 15, kMostPixels = int64_t{1} << 30;  // float32 RGB of 12 GB
  if (height < 1 || width < 1 || height > kMostSide || width > kMostSide || frames > kMostPixels / (height * width))
    throw UserError(cat(name, ": the video has ", frames, frames == 1 ? " frame of " : " frames of ", width, " x ", height, " pixels: at most ",
                        kMostPixels, " pixels in all are supported: cut it shorter or smaller"));
}

}  // namespace vivace
