#include "backends/cuda/nvrtc.h"

#include <nvrtc.h>

#include <algorithm>

#include "backends/cuda/kernels/sources.h"
#include "backends/cuda/library.h"
#include "base/cache_folder.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {

struct Nvrtc::Functions {
  Library library;
  decltype(&nvrtcVersion) version;
  decltype(&nvrtcCreateProgram) create;
  decltype(&nvrtcDestroyProgram) destroy;
  decltype(&nvrtcCompileProgram) compile;
  decltype(&nvrtcGetCUBINSize) cubin_size;
  decltype(&nvrtcGetCUBIN) cubin;
  decltype(&nvrtcGetPTXSize) ptx_size;
  decltype(&nvrtcGetPTX) ptx;
  decltype(&nvrtcGetNumSupportedArchs) count_archs;
  decltype(&nvrtcGetSupportedArchs) archs;
  decltype(&nvrtcGetProgramLogSize) log_size;
  decltype(&nvrtcGetProgramLog) log;
  decltype(&nvrtcGetErrorString) explain;

  explicit Functions(int driver)
      : library("cuda", names_by_toolkit("libnvrtc.so", driver),
                cat("install NVRTC of the CUDA toolkit (12.4 or newer, of CUDA ", driver, " at most for this driver)")) {
    library.find("nvrtcVersion", version);
    library.find("nvrtcCreateProgram", create);
    library.find("nvrtcDestroyProgram", destroy);
    library.find("nvrtcCompileProgram", compile);
    library.find("nvrtcGetCUBINSize", cubin_size);
    library.find("nvrtcGetCUBIN", cubin);
    library.find("nvrtcGetPTXSize", ptx_size);
    library.find("nvrtcGetPTX", ptx);
    library.find("nvrtcGetNumSupportedArchs", count_archs);
    library.find("nvrtcGetSupportedArchs", archs);
    library.find("nvrtcGetProgramLogSize", log_size);
    library.find("nvrtcGetProgramLog", log);
    library.find("nvrtcGetErrorString", explain);
  }
};

namespace {

// Everything that kernels may include: part of the key of what was made of it.
std::string all_sources() {
  std::string text;
  for (const KernelSource& source : kernel_sources()) text += cat(source.name, '\n', source.text, '\n');
  return text;
}

}  // namespace

Nvrtc::Nvrtc(int driver) : functions_(std::make_unique<Functions>(driver)) {
  int major = 0, minor = 0, count = 0;
  functions_->version(&major, &minor);
  version_ = cat("NVRTC ", major, '.', minor);
  functions_->count_archs(&count);
  known_.resize(static_cast<size_t>(count));
  functions_->archs(known_.data());
}

int newest_for(int capability, std::span<const int> known) {
  int newest = 0;
  for (const int one : known)
    if (one <= capability) newest = std::max(newest, one);
  if (newest == 0) throw UserError(cat("cuda: this NVRTC compiles for no GPU of compute capability ", capability / 10, '.', capability % 10));
  return newest;
}

Nvrtc::~Nvrtc() = default;

std::string Nvrtc::compile(const std::string& text, std::string_view name, int capability) const {
  static const std::string sources = hash_text(all_sources());
  static const CacheFolder cache{CacheOptions{}};
  const std::string key = cat(version_, "\nsm_", capability, '\n', sources, '\n', text);
  if (auto kept = cache.read(cache_kind::kKernels, key)) return *std::move(kept);

  std::vector<const char*> texts, names;
  for (const KernelSource& source : kernel_sources()) {
    texts.push_back(source.text);
    names.push_back(source.name);
  }
  const int known = newest_for(capability, known_);
  const bool is_newer = capability > known;
  const std::string file(name), arch = cat(is_newer ? "--gpu-architecture=compute_" : "--gpu-architecture=sm_", known);
  const char* options[] = {arch.c_str(), "--std=c++17"};
  nvrtcProgram program = nullptr;
  const auto require = [&](nvrtcResult result, std::string_view what) {
    if (result == NVRTC_SUCCESS) return;
    std::string log;
    size_t bytes = 0;
    if (program && functions_->log_size(program, &bytes) == NVRTC_SUCCESS && bytes > 1) {
      log.resize(bytes - 1);
      functions_->log(program, log.data());
    }
    if (program) functions_->destroy(&program);
    throw InternalError(cat("cuda: ", what, " kernel ", name, ": ", functions_->explain(result), ' ', log.substr(0, log.find('\n'))));
  };
  require(functions_->create(&program, text.c_str(), file.c_str(), static_cast<int>(texts.size()), texts.data(), names.data()), "creating");
  require(functions_->compile(program, static_cast<int>(std::size(options)), options), "compiling");
  size_t bytes = 0;
  require((is_newer ? functions_->ptx_size : functions_->cubin_size)(program, &bytes), "compiling");
  std::string made(bytes, '\0');
  require((is_newer ? functions_->ptx : functions_->cubin)(program, made.data()), "compiling");
  functions_->destroy(&program);
  cache.write(cache_kind::kKernels, key, made);
  return made;
}

}  // namespace vivace::cuda
