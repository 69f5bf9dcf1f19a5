#include "vivace/video.h"

#include <algorithm>
#include <cctype>

#include "base/files.h"
#include "base/folder_writer.h"
#include "base/log.h"
#include "tensor/npy.h"
#include "video/decode.h"
#include "video/encode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

constexpr double kMostFps = 1000;

std::string extension_of(const fs::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

// Throws UsageError for an extension that there is nothing for; nullptr for .npy and a folder.
const VideoFormat* format_of(const fs::path& path) {
  const std::string extension = extension_of(path);
  const VideoFormat* format = find_video_format(extension);
  if (!format && !extension.empty() && extension != ".npy")
    throw UsageError(cat("cannot write ", path.string(), ": unknown extension \"", extension,
                         "\": expected .mp4, .webm, .gif, .webp or .npy, or none for a folder of PNGs"));
  return format;
}

bool is_frame(const std::string& name) {
  constexpr std::string_view kPrefix = "frame_", kSuffix = ".png";
  return name.size() > kPrefix.size() + kSuffix.size() && name.starts_with(kPrefix) && name.ends_with(kSuffix) &&
         std::all_of(name.begin() + kPrefix.size(), name.end() - kSuffix.size(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// That a folder of frames may take the place of what is there.
void check_folder_path(const fs::path& path) {
  if (path.empty()) throw UserError("cannot write a video with an empty name: give a path such as panda.mp4");
  const fs::path folder = folder_path(path);
  std::error_code ignored;
  const bool there = fs::exists(folder, ignored);
  if (there && !fs::is_directory(folder, ignored))
    throw UserError(cat("cannot write ", path.string(), ": it is a file: a name without extension stands for a folder of PNGs"));
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; there && !error && entry != end; entry.increment(error))
    if (!is_frame(entry->path().filename().string()))
      throw UserError(cat("cannot write ", path.string(), ": the folder holds ", entry->path().filename().string(),
                          ", which is no frame of a video: choose another name"));
  if (there && error) throw UserError(cat("cannot write ", path.string(), ": ", error.message()));
  check_writable(folder.parent_path() / "frame_0001.png");
}

void check_stop(const VideoOptions& options) {
  if (options.stop.stop_requested()) throw Interrupted("stopped");
}

void save_npy(const Video& video, const fs::path& path, const VideoOptions& options) {
  FileWriter file(path);
  const std::string header = npy_header(video.tensor().shape());
  file.reserve(header.size() + video.tensor().bytes());
  file.write(header);
  for (int i = 0; i < video.frames(); ++i) {
    check_stop(options);
    file.write(std::as_bytes(video.frame(i).tensor().floats()));
  }
  file.commit();
}

void save_folder(const Video& video, const fs::path& path, const VideoOptions& options) {
  check_folder_path(path);
  FolderWriter folder(path);
  for (int i = 0; i < video.frames(); ++i) {
    check_stop(options);
    std::string number = std::to_string(i + 1);
    number.insert(0, number.size() < 4 ? 4 - number.size() : 0, '0');
    video.frame(i).save(folder / cat("frame_", number, ".png"), options.text);
  }
  folder.commit();
}

// Of the pictures' names, "b10.png" stands before "b9.png": frames are numbered with zeros in front.
Tensor load_folder(const fs::path& path) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error))
    if (const std::string extension = extension_of(entry->path()); extension == ".png" || extension == ".jpg" || extension == ".jpeg")
      files.push_back(entry->path());
  if (error) throw UserError(cat("cannot read ", path.string(), ": ", error.message()));
  if (files.empty()) throw UserError(cat(path.string(), ": no pictures: expected a video, or a folder of its frames as PNG or JPEG"));
  std::ranges::sort(files);
  const Image first = Image::load(files[0]);
  check_video_size(path.string(), static_cast<int64_t>(files.size()), first.height(), first.width());
  Tensor values({static_cast<int64_t>(files.size()), first.height(), first.width(), 3}, float32);
  float* to = values.as<float>();
  for (const fs::path& file : files) {
    const Image image = Image::load(file);
    if (image.height() != first.height() || image.width() != first.width())
      throw UserError(cat(file.string(), ": ", image.width(), " x ", image.height(), " pixels, and ", files[0].filename().string(), " has ",
                          first.width(), " x ", first.height(), ": expected frames of one size"));
    to = std::ranges::copy(image.tensor().floats(), to).out;
  }
  return values;
}

}  // namespace

Video Video::from_tensor(Tensor values) {
  if (!values.defined() || values.dtype() != float32 || values.rank() != 4 || values.dim(3) != 3 || values.numel() == 0)
    throw UsageError(
        cat("a video needs a float32 tensor [frames, height, width, 3], got ", dtype_name(values.dtype()), " ", to_string(values.shape())));
  Video video;
  video.values_ = std::move(values);
  return video;
}

Video Video::load(const fs::path& path) {
  if (is_folder(path)) return from_tensor(load_folder(path));
  if (extension_of(path) != ".npy") return from_tensor(decode_video(path));
  Tensor values = load_npy(path);
  if (values.rank() != 4 || values.dim(3) != 3 || values.numel() == 0)
    throw UserError(cat(path.string(), ": shape ", to_string(values.shape()), ": expected a video [frames, height, width, 3]"));
  return from_tensor(std::move(values));
}

Image Video::frame(int index) const {
  if (index < 0 || index >= frames()) throw UsageError(cat("frame ", index, " of a video of ", frames()));
  return Image::from_tensor(values_.rows(index, index + 1).reshape({height(), width(), 3}));
}

void Video::save(const fs::path& path, const VideoOptions& options) const {
  if (empty()) throw UsageError("an empty video cannot be saved");
  if (!(options.fps > 0 && options.fps <= kMostFps)) throw UsageError(cat("fps is ", options.fps, ": expected a number above 0, at most ", kMostFps));
  const VideoFormat* format = format_of(path);
  if (!format) return path.has_extension() ? save_npy(*this, path, options) : save_folder(*this, path, options);
  check_writable(path);
  const std::vector<uint8_t> file = encode_video(*format, {.frames = frames(),
                                                           .height = height(),
                                                           .width = width(),
                                                           .fps = options.fps,
                                                           .text = options.text,
                                                           .stop = options.stop,
                                                           .pixels = [this](int i) { return frame(i).pixels(); },
                                                           .name = path.string()});
  write_file(path, std::as_bytes(std::span(file)));
}

void Video::check_save_path(const fs::path& path) {
  if (const VideoFormat* format = format_of(path))
    check_encoder(*format, path.string());
  else if (!path.has_extension())
    return check_folder_path(path);
  check_writable(path);
}

}  // namespace vivace
