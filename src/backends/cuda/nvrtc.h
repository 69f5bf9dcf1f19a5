// NVRTC: kernels from their source, for the GPU at hand; what it made is kept in the cache directory.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace vivace::cuda {

class Nvrtc {
 public:
  // driver: the major number of the CUDA that it is of, which runs no newer NVRTC's code. Throws UserError where there is no NVRTC.
  explicit Nvrtc(int driver);
  ~Nvrtc();

  const std::string& version() const { return version_; }  // "NVRTC 13.0"
  // The cubin for sm_<capability> of a translation unit that may include the kernels' sources; of a GPU that is newer than this NVRTC the PTX for the
  // newest that it knows, which the driver compiles. Throws InternalError with the compiler's first complaint.
  std::string compile(const std::string& text, std::string_view name, int capability) const;

 private:
  struct Functions;
  std::unique_ptr<Functions> functions_;
  std::string version_;
  int newest_ = 0;  // compute capability that it knows
};

}  // namespace vivace::cuda
