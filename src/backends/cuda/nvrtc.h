// NVRTC: kernels from their source, for the GPU at hand; what it made is kept in the cache directory.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace vivace::cuda {

class Nvrtc {
 public:
  // Throws UserError where there is no NVRTC.
  Nvrtc();
  ~Nvrtc();

  const std::string& version() const { return version_; }  // "NVRTC 13.0"
  // The cubin for sm_<capability> of a translation unit that may include the kernels' sources. Throws InternalError with the compiler's first
  // complaint.
  std::string compile(const std::string& text, std::string_view name, int capability) const;

 private:
  struct Functions;
  std::unique_ptr<Functions> functions_;
  std::string version_;
};

}  // namespace vivace::cuda
