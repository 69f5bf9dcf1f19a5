// Encoding and muxing into memory through FFmpeg's libraries.
#include <cstring>
#include <memory>

#include "base/log.h"
#include "base/parallel.h"
#include "video/encode.h"
#include "video/gif_palette.h"
#include "video/libav.h"
#include "video/metadata.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// As `name` of all messages about a file.
[[noreturn]] void fail(const std::string& name, const std::string& what) { throw UserError(cat("cannot write ", name, ": ", what)); }

const AVCodec* find_encoder(const VideoFormat& format, const std::string& name) {
  if (!libav().missing.empty())
    fail(name,
         cat(libav().missing, " is missing: install FFmpeg's libraries (libavformat, libavcodec, libswscale), or write .npy or a folder of PNGs"));
  std::string tried;
  for (const std::string_view encoder : format.encoders) {
    if (const AVCodec* found = libav().avcodec_find_encoder_by_name(std::string(encoder).c_str())) return found;
    tried += cat(tried.empty() ? "" : " or ", encoder);
  }
  fail(name,
       cat("FFmpeg's libavcodec has no encoder ", tried, ": install one that has, or choose another extension (.mp4, .webm, .gif, .webp, .npy)"));
}

// What the muxer writes; it goes back to fill sizes in.
struct MemoryFile {
  std::vector<uint8_t> bytes;
  size_t position = 0;

  static int write(void* self, uint8_t* data, int size) {
    auto& file = *static_cast<MemoryFile*>(self);
    try {
      const size_t end = file.position + static_cast<size_t>(size);
      if (end > file.bytes.size()) file.bytes.resize(end);
    } catch (const std::bad_alloc&) {
      return AVERROR(ENOMEM);
    }
    std::memcpy(file.bytes.data() + file.position, data, static_cast<size_t>(size));
    file.position += static_cast<size_t>(size);
    return size;
  }
  static int64_t seek(void* self, int64_t offset, int whence) {
    auto& file = *static_cast<MemoryFile*>(self);
    const auto size = static_cast<int64_t>(file.bytes.size());
    if (whence == AVSEEK_SIZE) return size;
    const int64_t to = offset + (whence == SEEK_CUR ? static_cast<int64_t>(file.position) : whence == SEEK_END ? size : 0);
    if (to < 0 || to > size) return AVERROR(EINVAL);
    file.position = static_cast<size_t>(to);
    return to;
  }
};

struct Handles : LibavCoder {
  AVFormatContext* muxer_ = nullptr;

  ~Handles() {
    if (!av_.missing.empty()) return;
    if (muxer_ && muxer_->pb) {
      av_.av_freep(&muxer_->pb->buffer);
      av_.avio_context_free(&muxer_->pb);
    }
    av_.avformat_free_context(muxer_);
  }
};

class Encoding : Handles {
 public:
  Encoding(const VideoFormat& format, const EncodedVideo& video)
      : video_(video), is_gif_(format.extension == ".gif"), codec_(find_encoder(format, video.name)) {
    check(av_.avformat_alloc_output_context2(&muxer_, nullptr, std::string(format.muxer).c_str(), nullptr), "its format");
    open_encoder();
    open_muxer();
    if (!is_gif_) open_scaler();
    frame_ = av_.av_frame_alloc();
    packet_ = av_.av_packet_alloc();
    if (!frame_ || !packet_) fail(video_.name, "out of memory");
    frame_->format = context_->pix_fmt, frame_->width = video.width, frame_->height = video.height;
    check(av_.av_frame_get_buffer(frame_, 0), "a frame");
  }

  std::vector<uint8_t> run() {
    if (is_gif_) palette_ = GifPalette::of(video_.frames, [this](int i) { return pixels(i); });
    for (int i = 0; i < video_.frames; ++i) {
      fill_frame(pixels(i));
      frame_->pts = i;
      check(av_.avcodec_send_frame(context_, frame_), "a frame");
      write_packets();
    }
    check(av_.avcodec_send_frame(context_, nullptr), "its end");
    write_packets();
    check(av_.av_write_trailer(muxer_), "its end");
    return std::move(file_.bytes);
  }

 private:
  void check(int result, const char* what) const {
    if (result >= 0) return;
    fail(video_.name, cat(codec_->name, " does not take ", what, " of ", video_.width, " x ", video_.height, " pixels, ", video_.fps,
                          " frames a second: ", libav_error(result)));
  }

  std::vector<uint8_t> pixels(int i) const {
    if (video_.stop.stop_requested()) throw Interrupted("stopped");
    return video_.pixels(i);
  }

  void open_encoder() {
    context_ = av_.avcodec_alloc_context3(codec_);
    if (!context_) fail(video_.name, "out of memory");
    // Encoders tell standard error what they are doing: only what ends the process is said.
    context_->log_level_offset = AV_LOG_TRACE - AV_LOG_PANIC;
    context_->width = video_.width, context_->height = video_.height;
    const AVRational rate = av_.av_d2q(video_.fps, 100000);
    context_->framerate = rate, context_->time_base = {rate.den, rate.num};
    context_->thread_count = num_threads();
    const std::string name = codec_->name;
    const bool odd = video_.width % 2 != 0 || video_.height % 2 != 0;
    if (is_gif_) {
      context_->pix_fmt = AV_PIX_FMT_PAL8;
    } else if (name == "libwebp_anim") {
      context_->pix_fmt = AV_PIX_FMT_BGRA;
      set("quality", "90");
    } else {
      // Players show half the chroma everywhere; H.264 has it for even sides alone.
      context_->pix_fmt = odd && codec_->id == AV_CODEC_ID_H264 ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
      context_->colorspace = AVCOL_SPC_BT709, context_->color_primaries = AVCOL_PRI_BT709, context_->color_trc = AVCOL_TRC_BT709;
      context_->color_range = AVCOL_RANGE_MPEG;
      if (name == "libopenh264")
        context_->bit_rate = int64_t{video_.width} * video_.height * 4;
      else
        set("crf", name == "libx264" ? "17" : "24");
      if (name.starts_with("libvpx")) set("cpu-used", "4");  // a third of the time, and files a few percent larger
    }
    if (muxer_->oformat->flags & AVFMT_GLOBALHEADER) context_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    check(av_.avcodec_open2(context_, codec_, nullptr), "a video");
  }

  void set(const char* option, const char* value) { check(av_.av_opt_set(context_, option, value, AV_OPT_SEARCH_CHILDREN), option); }

  void open_muxer() {
    stream_ = av_.avformat_new_stream(muxer_, nullptr);
    if (!stream_) fail(video_.name, "out of memory");
    stream_->time_base = context_->time_base, stream_->avg_frame_rate = context_->framerate;
    check(av_.avcodec_parameters_from_context(stream_->codecpar, context_), "a stream");
    constexpr int kBuffer = 1 << 16;
    auto* buffer = static_cast<uint8_t*>(av_.av_malloc(kBuffer));
    muxer_->pb = buffer ? av_.avio_alloc_context(buffer, kBuffer, 1, &file_, nullptr, MemoryFile::write, MemoryFile::seek) : nullptr;
    if (!muxer_->pb) fail(video_.name, "out of memory");
    muxer_->flags |= AVFMT_FLAG_CUSTOM_IO;
    for (const auto& [key, value] : video_.text) av_.av_dict_set(&muxer_->metadata, key.c_str(), value.c_str(), 0);
    AVDictionary* options = nullptr;
    // Without it MP4 takes some twenty keys alone.
    if (std::strcmp(muxer_->oformat->name, "mp4") == 0) av_.av_dict_set(&options, "movflags", "use_metadata_tags", 0);
    if (std::strcmp(muxer_->oformat->name, "webp") == 0) av_.av_dict_set(&options, "loop", "0", 0);
    const int result = av_.avformat_write_header(muxer_, &options);
    av_.av_dict_free(&options);
    check(result, "a file");
  }

  void open_scaler() {
    const int width = video_.width, height = video_.height;
    scaler_ = av_.sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, context_->pix_fmt,
                                 SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, nullptr, nullptr, nullptr);
    if (!scaler_) fail(video_.name, cat("libswscale does not take ", width, " x ", height, " pixels"));
    if (context_->colorspace != AVCOL_SPC_BT709) return;
    const int* table = av_.sws_getCoefficients(SWS_CS_ITU709);
    av_.sws_setColorspaceDetails(scaler_, table, 1, table, 0, 0, 1 << 16, 1 << 16);
  }

  void fill_frame(const std::vector<uint8_t>& rgb) {
    check(av_.av_frame_make_writable(frame_), "a frame");
    if (is_gif_) {
      palette_.draw(rgb, video_.width, frame_->data[0], frame_->linesize[0]);
      std::memcpy(frame_->data[1], palette_.colours().data(), AVPALETTE_SIZE);
      return;
    }
    const uint8_t* const planes[] = {rgb.data()};
    const int strides[] = {3 * video_.width};
    av_.sws_scale(scaler_, planes, strides, 0, video_.height, frame_->data, frame_->linesize);
  }

  void write_packets() {
    for (;;) {
      const int result = av_.avcodec_receive_packet(context_, packet_);
      if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
      check(result, "a frame");
      if (packet_->duration == 0) packet_->duration = 1;
      av_.av_packet_rescale_ts(packet_, context_->time_base, stream_->time_base);
      packet_->stream_index = stream_->index;
      check(av_.av_interleaved_write_frame(muxer_, packet_), "a frame");
    }
  }

  const EncodedVideo& video_;
  const bool is_gif_;
  const AVCodec* codec_;
  MemoryFile file_;
  GifPalette palette_;
  AVStream* stream_ = nullptr;  // the muxer's
};

}  // namespace

void check_encoder(const VideoFormat& format, const std::string& name) { find_encoder(format, name); }

std::vector<uint8_t> encode_video(const VideoFormat& format, const EncodedVideo& video) {
  std::vector<uint8_t> file = Encoding(format, video).run();
  if (format.extension == ".gif") add_gif_comment(file, video.text);
  if (format.extension == ".webp") add_webp_xmp(file, video.text);
  return file;
}

}  // namespace vivace
