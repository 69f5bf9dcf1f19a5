// Encoded videos, read back.
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/files.h"
#include "base/log.h"
#include "small_files.h"
#include "temp_folder.h"
#include "video/encode.h"
#include "vivace/error.h"
#include "vivace/video.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

struct Decoded {
  int width = 0, height = 0;
  double fps = 0, seconds = 0;
  std::string encoding, text;                // all tags, "key=value;"
  std::vector<std::vector<uint8_t>> frames;  // 8-bit RGB
};

Decoded decode(const fs::path& path) {
  Decoded out;
  AVFormatContext* file = nullptr;
  if (avformat_open_input(&file, path.c_str(), nullptr, nullptr) < 0 || avformat_find_stream_info(file, nullptr) < 0 || file->nb_streams != 1) {
    ADD_FAILURE() << path << " is no video";
    return out;
  }
  const AVStream* stream = file->streams[0];
  const AVCodec* codec = avcodec_find_decoder(stream->codecpar->codec_id);
  AVCodecContext* context = avcodec_alloc_context3(codec);
  avcodec_parameters_to_context(context, stream->codecpar);
  avcodec_open2(context, codec, nullptr);
  out.encoding = avcodec_get_name(stream->codecpar->codec_id);
  out.fps = av_q2d(stream->avg_frame_rate);
  out.seconds = static_cast<double>(file->duration) / AV_TIME_BASE;
  for (const AVDictionaryEntry* tag = nullptr; (tag = av_dict_get(file->metadata, "", tag, AV_DICT_IGNORE_SUFFIX));)
    out.text += cat(tag->key, "=", tag->value, ";");
  SwsContext* scaler = nullptr;
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  const auto take = [&] {
    while (avcodec_receive_frame(context, frame) >= 0) {
      out.width = frame->width, out.height = frame->height;
      if (!scaler) {
        scaler = sws_getContext(frame->width, frame->height, static_cast<AVPixelFormat>(frame->format), frame->width, frame->height, AV_PIX_FMT_RGB24,
                                SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, nullptr, nullptr, nullptr);
        const int* table = sws_getCoefficients(frame->colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_DEFAULT);
        sws_setColorspaceDetails(scaler, table, 0, table, 1, 0, 1 << 16, 1 << 16);
      }
      std::vector<uint8_t>& rgb = out.frames.emplace_back(static_cast<size_t>(3 * frame->width * frame->height));
      uint8_t* const planes[] = {rgb.data()};
      const int strides[] = {3 * frame->width};
      sws_scale(scaler, frame->data, frame->linesize, 0, frame->height, planes, strides);
    }
  };
  while (av_read_frame(file, packet) >= 0) {
    avcodec_send_packet(context, packet);
    av_packet_unref(packet);
    take();
  }
  avcodec_send_packet(context, nullptr);
  take();
  sws_freeContext(scaler);
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  avformat_close_input(&file);
  return out;
}

// Smooth colours that move.
Video moving(int frames, int height, int width) {
  Tensor values({frames, height, width, 3}, float32);
  float* v = values.as<float>();
  for (int f = 0; f < frames; ++f)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        *v++ = static_cast<float>(.5 + .4 * std::sin(.05 * x + .3 * f));
        *v++ = static_cast<float>(.5 + .4 * std::sin(.04 * y - .2 * f));
        *v++ = static_cast<float>(.5 + .4 * std::sin(.03 * (x + y)));
      }
  return Video::from_tensor(values);
}

double worst_frame_psnr(const Decoded& got, const Video& wanted) {
  double worst = 1000;
  for (size_t f = 0; f < got.frames.size(); ++f) {
    const std::vector<uint8_t> pixels = wanted.frame(static_cast<int>(f)).pixels();
    double squares = 0;
    for (size_t i = 0; i < pixels.size(); ++i) squares += std::pow(static_cast<double>(got.frames[f][i]) - static_cast<double>(pixels[i]), 2);
    worst = std::min(worst, 10 * std::log10(255. * 255 / std::max(1e-9, squares / static_cast<double>(pixels.size()))));
  }
  return worst;
}

struct Format {
  const char *extension, *encoding;
  double psnr;  // at least
};

class EncodedVideos : public testing::TestWithParam<Format> {};

TEST_P(EncodedVideos, ReadBackAsTheyWere) {
  const TempFolder folder;
  const fs::path path = folder / cat("v", GetParam().extension);
  const Video video = moving(9, 48, 80);
  const TextChunks text{{"prompt", "a panda & a <fox>"}, {"seed", "7"}};
  Video::check_save_path(path);
  video.save(path, {.fps = 8, .text = text});
  EXPECT_EQ(folder.files(), 1u);
  const std::string bytes = read_file(path);
  if (std::string(GetParam().extension) == ".webp") {  // these libraries write what they do not read
    EXPECT_EQ(bytes.substr(0, 4) + bytes.substr(8, 8), "RIFFWEBPVP8X");
    size_t frames = 0;
    for (size_t at = bytes.find("ANMF"); at != std::string::npos; at = bytes.find("ANMF", at + 1)) ++frames;
    EXPECT_EQ(frames, 9u);
    EXPECT_NE(bytes.find("prompt: a panda &amp; a &lt;fox&gt;\nseed: 7</rdf:li>"), std::string::npos);
    return;
  }
  const Decoded got = decode(path);
  EXPECT_EQ(got.encoding, GetParam().encoding);
  EXPECT_EQ(got.width, 80);
  EXPECT_EQ(got.height, 48);
  EXPECT_NEAR(got.fps, 8, .2);
  EXPECT_NEAR(got.seconds, 9. / 8, .03);
  ASSERT_EQ(got.frames.size(), 9u);
  EXPECT_GT(worst_frame_psnr(got, video), GetParam().psnr);
  if (std::string(GetParam().extension) == ".gif")
    EXPECT_NE(bytes.find("prompt: a panda & a <fox>\nseed: 7"), std::string::npos);
  else
    EXPECT_NE(got.text.find("a panda & a <fox>;"), std::string::npos) << got.text;
}

INSTANTIATE_TEST_SUITE_P(Formats, EncodedVideos,
                         testing::Values(Format{".mp4", "h264", 38}, Format{".webm", "vp9", 36}, Format{".gif", "gif", 26},
                                         Format{".webp", "webp", 0}),
                         [](const auto& info) { return std::string(info.param.extension).substr(1); });

TEST(EncodedVideo, OddSidesAndBrokenRatesAreKept) {
  const TempFolder folder;
  const Video video = moving(5, 33, 47);
  video.save(folder / "v.mp4", {.fps = 23.976});
  const Decoded got = decode(folder / "v.mp4");
  EXPECT_EQ(got.width, 47);
  EXPECT_EQ(got.height, 33);
  EXPECT_NEAR(got.fps, 23.976, 1e-3);
  EXPECT_GT(worst_frame_psnr(got, video), 36);
}

TEST(EncodedVideo, OneFrameIsAVideoToo) {
  const TempFolder folder;
  for (const char* name : {"v.mp4", "v.webm", "v.gif"}) {
    moving(1, 32, 32).save(folder / name);
    EXPECT_EQ(decode(folder / name).frames.size(), 1u) << name;
  }
}

TEST(EncodedVideo, IsNotLeftHalfWritten) {
  const TempFolder folder;
  for (const char* name : {"v.mp4", "v.webm", "v.gif", "v.webp"}) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_THROW(moving(3, 32, 32).save(folder / name, {.stop = stop.get_token()}), Interrupted);
    EXPECT_EQ(folder.files(), 0u) << name;
  }
  {
    const SmallFiles limit(128);  // as a disk that is full
    for (const char* name : {"v.mp4", "v.webm", "v.gif", "v.webp"}) {
      const std::string full = message_of<UserError>([&] { moving(3, 32, 32).save(folder / name); });
      EXPECT_NE(full.find("the file would exceed the size limit"), std::string::npos) << full;
      EXPECT_EQ(folder.files(), 0u) << name;
    }
  }
  const std::string message = message_of<UserError>([&] { moving(1, 2, 16400).save(folder / "v.webp"); });
  EXPECT_NE(message.find("libwebp_anim does not take a"), std::string::npos) << message;
  EXPECT_NE(message.find("16400 x 2 pixels"), std::string::npos) << message;
  EXPECT_EQ(folder.files(), 0u);
}

TEST(EncodedVideo, IsReadAgain) {
  const TempFolder folder;
  const Video video = moving(9, 48, 80);
  for (const auto& [name, psnr] : {std::pair{"v.mp4", 38.}, {"v.webm", 36.}, {"v.gif", 26.}}) {
    video.save(folder / name);
    const Video read = Video::load(folder / name);
    const Decoded wanted = decode(folder / name);
    ASSERT_EQ(read.tensor().shape(), video.tensor().shape()) << name;
    for (int f = 0; f < 9; ++f) EXPECT_EQ(read.frame(f).pixels(), wanted.frames[static_cast<size_t>(f)]) << name << ", frame " << f;
    EXPECT_GT(worst_frame_psnr(wanted, read), 100) << name;
    EXPECT_GT(worst_frame_psnr(wanted, video), psnr) << name;
  }
}

TEST(EncodedVideo, ThatIsNoneIsRefused) {
  const TempFolder folder;
  const auto refusal = [](const fs::path& path) { return message_of<UserError>([&] { Video::load(path); }); };
  EXPECT_EQ(refusal(folder / "no.mp4"), cat("no video at ", (folder / "no.mp4").string()));
  moving(9, 48, 80).save(folder / "v.mp4");
  const std::string whole = read_file(folder / "v.mp4");
  write_file(folder / "half.mp4", whole.substr(0, 500));
  write_file(folder / "text.mp4", "no video at all");
  // What names other files is none of them.
  write_file(folder / "list.mp4", cat("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n", (folder / "v.mp4").string(), "\n#EXT-X-ENDLIST\n"));
  write_file(folder / "concat.mp4", cat("ffconcat version 1.0\nfile '", (folder / "v.mp4").string(), "'\n"));
  for (const char* name : {"half.mp4", "text.mp4", "list.mp4", "concat.mp4"}) {
    const std::string message = refusal(folder / name);
    EXPECT_TRUE(message.starts_with((folder / name).string() + ": ")) << message;
  }
}

// JPEGs one after the other, which need not have colours of one resolution.
void write_motion_jpeg(const fs::path& path, std::initializer_list<const char*> files) {
  AVFormatContext* file = nullptr;
  ASSERT_GE(avformat_alloc_output_context2(&file, nullptr, "avi", path.c_str()), 0);
  AVStream* stream = avformat_new_stream(file, nullptr);
  AVCodecParameters* parameters = stream->codecpar;
  parameters->codec_type = AVMEDIA_TYPE_VIDEO;
  parameters->codec_id = AV_CODEC_ID_MJPEG;
  parameters->width = 18, parameters->height = 13;
  stream->time_base = {1, 8};
  ASSERT_GE(avio_open(&file->pb, path.c_str(), AVIO_FLAG_WRITE), 0);
  ASSERT_GE(avformat_write_header(file, nullptr), 0);
  AVPacket* packet = av_packet_alloc();
  int64_t frame = 0;
  for (const char* name : files) {
    const std::string jpeg = read_file(fs::path(VIVACE_SOURCE_DIR "/tests/image/data") / name);
    ASSERT_GE(av_new_packet(packet, static_cast<int>(jpeg.size())), 0);
    std::ranges::copy(jpeg, packet->data);
    packet->pts = packet->dts = frame++;
    packet->flags = AV_PKT_FLAG_KEY;
    EXPECT_GE(av_write_frame(file, packet), 0);
    av_packet_unref(packet);
  }
  EXPECT_GE(av_write_trailer(file), 0);
  av_packet_free(&packet);
  avio_closep(&file->pb);
  avformat_free_context(file);
}

TEST(EncodedVideo, OfSeveralKindsOfPixelIsRefused) {
  const TempFolder folder;
  write_motion_jpeg(folder / "one.avi", {"rgb_444.jpg", "rgb_444.jpg"});
  EXPECT_EQ(Video::load(folder / "one.avi").tensor().shape(), (Shape{2, 13, 18, 3}));
  write_motion_jpeg(folder / "two.avi", {"rgb_444.jpg", "rgb_420.jpg"});
  EXPECT_NE(message_of<UserError>([&] { Video::load(folder / "two.avi"); }).find("not of one size and kind of pixel"), std::string::npos);
}

TEST(EncodedVideo, NeedsAnEncoder) {
  const VideoFormat format{.extension = ".mp4", .muxer = "mp4", .encoders = {"libnone", "libnot"}};
  const std::string wanted =
      "cannot write v.mp4: FFmpeg's libavcodec has no encoder libnone or libnot: install one that has, or choose another extension (.mp4, .webm, "
      ".gif, "
      ".webp, .npy)";
  EXPECT_EQ(message_of<UserError>([&] { check_encoder(format, "v.mp4"); }), wanted);
  EXPECT_EQ(message_of<UserError>([&] {
              encode_video(format, {.frames = 1, .height = 2, .width = 2, .pixels = [](int) { return std::vector<uint8_t>(12); }, .name = "v.mp4"});
            }),
            wanted);
}

}  // namespace
}  // namespace vivace
