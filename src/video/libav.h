// FFmpeg's libraries, opened when a video is written or read for the first time: they draw in a hundred others, which every start of a program would
// load.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <string>

namespace vivace {

// The functions that are called, by library.
#define VIVACE_LIBAV_FUNCTIONS(util, codec, format, scale)                                                                                           \
  util(av_d2q) util(av_dict_free) util(av_dict_set) util(av_frame_alloc) util(av_frame_free) util(av_frame_get_buffer) util(av_frame_make_writable)  \
      util(av_freep) util(av_log_get_level) util(av_log_set_level) util(av_malloc) util(av_opt_set) util(av_strerror) codec(avcodec_alloc_context3)  \
          codec(avcodec_find_decoder) codec(avcodec_find_encoder_by_name) codec(avcodec_free_context) codec(avcodec_open2)                           \
              codec(avcodec_parameters_from_context) codec(avcodec_parameters_to_context) codec(avcodec_receive_frame) codec(avcodec_receive_packet) \
                  codec(avcodec_send_frame) codec(avcodec_send_packet) codec(av_packet_alloc) codec(av_packet_free) codec(av_packet_rescale_ts)      \
                      codec(av_packet_unref) format(av_find_best_stream) format(av_interleaved_write_frame) format(av_read_frame)                    \
                          format(av_write_trailer) format(avformat_alloc_output_context2) format(avformat_close_input)                               \
                              format(avformat_find_stream_info) format(avformat_free_context) format(avformat_new_stream)                            \
                                  format(avformat_open_input) format(avformat_write_header) format(avio_alloc_context) format(avio_context_free)     \
                                      scale(sws_freeContext) scale(sws_getCoefficients) scale(sws_getContext) scale(sws_scale)                       \
                                          scale(sws_setColorspaceDetails)

struct Libav {
#define VIVACE_FUNCTION(name) decltype(&::name) name = nullptr;
  VIVACE_LIBAV_FUNCTIONS(VIVACE_FUNCTION, VIVACE_FUNCTION, VIVACE_FUNCTION, VIVACE_FUNCTION)
#undef VIVACE_FUNCTION
  std::string missing;  // the library that is not there, or why; empty: all are
};

// Opened once. Of the version that this was built with: structures are laid out by it.
const Libav& libav();

// What it says of an error.
std::string libav_error(int code);

// What encoding and decoding take beside the file, freed in the end; as a base class also where opening fails half way.
struct LibavCoder {
  const Libav& av_ = libav();
  AVCodecContext* context_ = nullptr;
  SwsContext* scaler_ = nullptr;
  AVFrame* frame_ = nullptr;
  AVPacket* packet_ = nullptr;

  LibavCoder() = default;
  LibavCoder(const LibavCoder&) = delete;
  LibavCoder& operator=(const LibavCoder&) = delete;
  ~LibavCoder();
};

}  // namespace vivace
