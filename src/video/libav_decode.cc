// Reading a video through FFmpeg's libraries.
#include <algorithm>
#include <mutex>
#include <vector>

#include "base/files.h"
#include "base/log.h"
#include "base/parallel.h"
#include "video/decode.h"
#include "video/libav.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct DecoderHandles : LibavCoder {
  AVFormatContext* file_ = nullptr;

  ~DecoderHandles() {
    if (!av_.missing.empty()) return;
    av_.avformat_close_input(&file_);
  }
};

// Demuxers tell standard error what is wrong with a file, which is said here. Their level is the process's, so one file is read at a time.
class Silence {
 public:
  Silence() : level_(libav().av_log_get_level()) { libav().av_log_set_level(AV_LOG_QUIET); }
  ~Silence() { libav().av_log_set_level(level_); }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  static inline std::mutex one_at_a_time_;
  const std::lock_guard<std::mutex> lock_{one_at_a_time_};
  const int level_;
};

class Decoding : DecoderHandles {
 public:
  explicit Decoding(const std::filesystem::path& path) : name_(path.string()) {
    // A file that names others, or asks a server for them, is read as none of these.
    AVDictionary* options = nullptr;
    av_.av_dict_set(&options, "protocol_whitelist", "file", 0);
    av_.av_dict_set(&options, "format_whitelist", "mov,matroska,avi,gif", 0);
    const int opened = av_.avformat_open_input(&file_, cat("file:", name_).c_str(), nullptr, &options);
    av_.av_dict_free(&options);
    check(opened, "not a video (.mp4, .mov, .mkv, .webm, .avi, .gif)");
    check(av_.avformat_find_stream_info(file_, nullptr), "not a video");
    stream_ = av_.av_find_best_stream(file_, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    check(stream_, "it has no pictures");
    const AVCodecParameters* parameters = file_->streams[stream_]->codecpar;
    const AVCodec* codec = av_.avcodec_find_decoder(parameters->codec_id);
    if (!codec) fail("FFmpeg's libavcodec has no decoder for it");
    context_ = av_.avcodec_alloc_context3(codec);
    packet_ = av_.av_packet_alloc();
    frame_ = av_.av_frame_alloc();
    if (!context_ || !packet_ || !frame_) fail("out of memory");
    context_->thread_count = num_threads();
    check(av_.avcodec_parameters_to_context(context_, parameters), "its stream");
    check(av_.avcodec_open2(context_, codec, nullptr), "its stream");
  }

  Tensor run() {
    for (int read = 0; (read = av_.av_read_frame(file_, packet_)) != AVERROR_EOF;) {
      check(read, "it is damaged");
      const int sent = packet_->stream_index == stream_ ? av_.avcodec_send_packet(context_, packet_) : 0;
      av_.av_packet_unref(packet_);
      check(sent, "a frame is damaged");
      take_frames();
    }
    check(av_.avcodec_send_packet(context_, nullptr), "its end");
    take_frames();
    if (frames_.empty()) fail("it has no frames that can be read");
    Tensor values({static_cast<int64_t>(frames_.size()), height_, width_, 3}, float32);
    float* to = values.as<float>();
    for (std::vector<uint8_t>& frame : frames_) {
      to = std::ranges::transform(frame, to, [](uint8_t v) { return static_cast<float>(v) / 255.f; }).out;
      frame = {};
    }
    return values;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw UserError(cat(name_, ": ", what)); }
  void check(int result, const char* what) const {
    if (result >= 0) return;
    fail(cat(what, ": ", libav_error(result)));
  }

  void take_frames() {
    for (;;) {
      const int result = av_.avcodec_receive_frame(context_, frame_);
      if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
      check(result, "a frame is damaged");
      if (frames_.empty()) open_scaler();
      // The scaler reads as much of a frame as the first one had.
      if (frame_->height != height_ || frame_->width != width_ || frame_->format != format_) fail("its frames are not of one size and kind of pixel");
      check_video_size(name_, static_cast<int64_t>(frames_.size()) + 1, height_, width_);
      uint8_t* const planes[] = {lines_.data()};
      const int strides[] = {stride_};
      av_.sws_scale(scaler_, frame_->data, frame_->linesize, 0, frame_->height, planes, strides);
      std::vector<uint8_t>& rgb = frames_.emplace_back();
      rgb.reserve(static_cast<size_t>(3 * height_ * width_));
      for (int64_t y = 0; y < height_; ++y) rgb.insert(rgb.end(), lines_.begin() + y * stride_, lines_.begin() + y * stride_ + 3 * width_);
    }
  }

  void open_scaler() {
    height_ = frame_->height, width_ = frame_->width, format_ = frame_->format;
    check_video_size(name_, 1, height_, width_);
    scaler_ = av_.sws_getContext(frame_->width, frame_->height, static_cast<AVPixelFormat>(frame_->format), frame_->width, frame_->height,
                                 AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, nullptr, nullptr, nullptr);
    if (!scaler_) fail("libswscale does not take its pixels");
    const int* table = av_.sws_getCoefficients(frame_->colorspace);  // SWS_CS_... are AVCOL_SPC_...
    av_.sws_setColorspaceDetails(scaler_, table, frame_->color_range == AVCOL_RANGE_JPEG, table, 1, 0, 1 << 16, 1 << 16);
    constexpr int kBlock = 64;  // what the scaler may write beyond the pixels of a line
    stride_ = static_cast<int>((3 * width_ + 2 * kBlock - 1) / kBlock * kBlock);
    lines_.resize(static_cast<size_t>(height_ * stride_));
  }

  const std::string name_;
  int stream_ = -1;
  int64_t height_ = 0, width_ = 0;
  int format_ = AV_PIX_FMT_NONE;
  int stride_ = 0;
  std::vector<uint8_t> lines_;                // of a frame, as the scaler writes them
  std::vector<std::vector<uint8_t>> frames_;  // 8-bit RGB
};

}  // namespace

Tensor decode_video(const std::filesystem::path& path) {
  if (!is_file(path)) throw UserError(cat("no video at ", path.string()));
  if (const std::string& missing = libav().missing; !missing.empty())
    throw UserError(cat("cannot read ", path.string(), ": ", missing,
                        " is missing: install FFmpeg's libraries (libavformat, libavcodec, libswscale), or give .npy or a folder of pictures"));
  const Silence silence;
  return Decoding(path).run();
}

}  // namespace vivace
