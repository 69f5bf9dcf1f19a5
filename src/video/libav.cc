#include "video/libav.h"

#include <dlfcn.h>

#include "base/log.h"

namespace vivace {
namespace {

class Library {
 public:
  Library(const char* name, int version, std::string& missing)
      : name_(cat("lib", name, ".so.", version)), missing_(missing), handle_(::dlopen(name_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_ && missing_.empty()) missing_ = name_;  // what needs it does not open either
  }
  template <class Function>
  void find(const char* function, Function& to) const {
    if (!missing_.empty()) return;
    to = reinterpret_cast<Function>(::dlsym(handle_, function));
    if (!to) missing_ = cat(function, "() of ", name_);
  }

 private:
  std::string name_;
  std::string& missing_;
  void* handle_;  // kept until the process ends
};

}  // namespace

const Libav& libav() {
  static const Libav value = [] {
    Libav av;
    const Library util("avutil", LIBAVUTIL_VERSION_MAJOR, av.missing), codec("avcodec", LIBAVCODEC_VERSION_MAJOR, av.missing),
        format("avformat", LIBAVFORMAT_VERSION_MAJOR, av.missing), scale("swscale", LIBSWSCALE_VERSION_MAJOR, av.missing);
#define VIVACE_UTIL(name) util.find(#name, av.name);
#define VIVACE_CODEC(name) codec.find(#name, av.name);
#define VIVACE_FORMAT(name) format.find(#name, av.name);
#define VIVACE_SCALE(name) scale.find(#name, av.name);
    VIVACE_LIBAV_FUNCTIONS(VIVACE_UTIL, VIVACE_CODEC, VIVACE_FORMAT, VIVACE_SCALE)
    return av;
  }();
  return value;
}

std::string libav_error(int code) {
  char reason[AV_ERROR_MAX_STRING_SIZE] = "";
  libav().av_strerror(code, reason, sizeof reason);
  return reason;
}

LibavCoder::~LibavCoder() {
  if (!av_.missing.empty()) return;
  av_.sws_freeContext(scaler_);
  av_.av_packet_free(&packet_);
  av_.av_frame_free(&frame_);
  av_.avcodec_free_context(&context_);
}

}  // namespace vivace
