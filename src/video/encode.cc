#include "video/encode.h"

#include <algorithm>

namespace vivace {

const VideoFormat* find_video_format(std::string_view extension) {
  static const std::vector<VideoFormat> list{
      {".mp4", "mp4", {"libx264", "libopenh264"}},
      {".webm", "webm", {"libvpx-vp9", "libvpx"}},
      {".gif", "gif", {"gif"}},
      {".webp", "webp", {"libwebp_anim"}},
  };
  const auto found = std::ranges::find(list, extension, &VideoFormat::extension);
  return found == list.end() ? nullptr : &*found;
}

}  // namespace vivace
