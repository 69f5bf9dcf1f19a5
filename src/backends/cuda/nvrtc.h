// NVRTC: kernels from their source, for the GPU at hand; what it made is kept in the cache directory.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vivace::cuda {

class Nvrtc {
 public:
  // driver: the major number of the CUDA that it is of, which runs no newer NVRTC's code. Throws UserError where there is no NVRTC.
  explicit Nvrtc(int driver);
  ~Nvrtc();

  const std::string& version() const { return version_; }  // "NVRTC 13.0"
  // The cubin for sm_<capability> of a translation unit that may include the kernels' sources; of a GPU that this NVRTC does not know the PTX for the
  // newest before it, which the driver compiles. Throws InternalError with the compiler's first complaint. Any thread may call it.
  std::string compile(const std::string& text, std::string_view name, int capability) const;

 private:
  struct Functions;
  std::unique_ptr<Functions> functions_;
  std::string version_;
  std::vector<int> known_;  // compute capabilities
};

// The newest of `known` that a GPU of this capability runs code for: itself, or one before it. Throws UserError where there is none.
int newest_for(int capability, std::span<const int> known);

}  // namespace vivace::cuda
