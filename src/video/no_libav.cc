// What stands in libav_encode.cc's place in a build without FFmpeg's headers.
#include "base/log.h"
#include "video/decode.h"
#include "video/encode.h"
#include "vivace/error.h"

namespace vivace {

void check_encoder(const VideoFormat& format, const std::string& name) {
  throw UserError(cat("cannot write ", name, ": this Vivace was built without FFmpeg's libraries (libavformat-dev, libavcodec-dev, libswscale-dev): ",
                      "build it with them, or write .npy or a folder of PNGs, a name without extension"));
}

std::vector<uint8_t> encode_video(const VideoFormat& format, const EncodedVideo& video) {
  check_encoder(format, video.name);
  return {};
}

Tensor decode_video(const std::filesystem::path& path) {
  throw UserError(cat("cannot read ", path.string(), ": this Vivace was built without FFmpeg's libraries (libavformat-dev, libavcodec-dev, ",
                      "libswscale-dev): build it with them, or give .npy or a folder of pictures"));
}

}  // namespace vivace
