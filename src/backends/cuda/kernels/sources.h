// The text of the kernels, for NVRTC: the library carries it, made by kernels.cmake from the *.cuh of this folder.
#pragma once

#include <span>
#include <string_view>

namespace vivace::cuda {

struct KernelSource {
  const char* name;  // "row_norm.cuh": as other sources include it
  const char* text;
};
std::span<const KernelSource> kernel_sources();

}  // namespace vivace::cuda
