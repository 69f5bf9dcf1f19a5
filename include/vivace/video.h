// A video: frames of one size, float32 RGB in 0..1. MP4, WebM, GIF and animated WebP files, NumPy files, folders of PNGs.
#pragma once

#include <filesystem>
#include <stop_token>

#include "vivace/api.h"
#include "vivace/image.h"

namespace vivace VIVACE_API {

struct VideoOptions {
  double fps = 8;        // frames a second; a format without a place for it ignores it
  TextChunks text;       // metadata: tags of .mp4 and .webm, the comment of .gif, XMP of .webp, chunks of the PNGs
  std::stop_token stop;  // asked between two frames: Interrupted, and nothing is written
};

// Copies share the values.
class Video {
 public:
  Video() = default;
  // Takes float32 [frames, height, width, 3]; shares its storage. Throws UsageError for any other tensor.
  static Video from_tensor(Tensor values);
  // A .npy file (float [frames, height, width, 3] in 0..1), a folder of pictures (PNG, JPEG) of one size in the order of their names, or an .mp4,
  // .mov, .mkv, .webm, .avi or .gif file, known by what it holds. Throws UserError that names the file.
  static Video load(const std::filesystem::path& path);

  bool empty() const { return !values_.defined(); }
  int frames() const { return empty() ? 0 : static_cast<int>(values_.dim(0)); }
  int height() const { return empty() ? 0 : static_cast<int>(values_.dim(1)); }
  int width() const { return empty() ? 0 : static_cast<int>(values_.dim(2)); }
  // float32 [frames, height, width, 3].
  const Tensor& tensor() const { return values_; }
  // Shares the values.
  Image frame(int index) const;

  // By the extension: .mp4 (H.264), .webm (VP9), .gif, .webp (animated), .npy (float32 [frames, height, width, 3]; no text), or, without one, a
  // folder of frame_0001.png and so on. It appears whole or not at all; a folder of such frames that is there already is replaced. Throws UsageError
  // for another extension, UserError when it cannot be written: no encoder, a full disk, a folder that holds something else.
  void save(const std::filesystem::path& path, const VideoOptions& options = {}) const;
  // Throws what save() to this path would throw, as far as that can be known before there is a video.
  static void check_save_path(const std::filesystem::path& path);

 private:
  Tensor values_;
};

}  // namespace VIVACE_API
