// A video as the bytes of a file, for the formats that FFmpeg's libraries write.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "vivace/image.h"

namespace vivace {

// How an extension's files are made.
struct VideoFormat {
  std::string_view extension;              // ".mp4"
  std::string_view muxer;                  // FFmpeg's name
  std::vector<std::string_view> encoders;  // FFmpeg's names, the first that is there is taken
};

// nullptr for an extension that FFmpeg is not asked to write.
const VideoFormat* find_video_format(std::string_view extension);

struct EncodedVideo {
  int frames = 0, height = 0, width = 0;
  double fps = 8;
  TextChunks text;
  std::stop_token stop;
  std::function<std::vector<uint8_t>(int frame)> pixels;  // 8-bit RGB
  std::string name;                                       // of the file, for messages
};

// Throws UserError that begins with "cannot write NAME" where there is no such encoder, with what to install.
void check_encoder(const VideoFormat& format, const std::string& name);

// The whole file. Throws UserError like check_encoder and where the encoder does not take the video, Interrupted once it is to stop.
std::vector<uint8_t> encode_video(const VideoFormat& format, const EncodedVideo& video);

}  // namespace vivace
