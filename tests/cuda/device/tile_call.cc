#include "tile_call.h"

#include "backends/cpu/device.h"
#include "vivace/error.h"

namespace vivace::cuda {

void run_tile(const TileKernel& kernel, const void* arguments) {
  const auto* next = static_cast<const int64_t*>(arguments);
  std::vector<int64_t> pointers, strides;
  for (size_t i = 0; i < kernel.inputs.size(); ++i) {
    pointers.push_back(*next++);
    strides.push_back(*next++);
  }
  const int64_t out = *next++, out_stride = *next++, rows = *next++, channels = *next++, rows_per_image = *next++;
  // As a call on [images, rows of an image, channels], or on rows where no image has anything of its own.
  const bool by_image = std::ranges::any_of(kernel.inputs, [](const TileInput& in) { return in.broadcast == TileBroadcast::image_channel; });
  const int64_t images = by_image ? rows / rows_per_image : 1, of_image = rows / images;
  Attrs attrs{{"program", kernel.program.text()}};
  KernelCall call{.op = Op::tile, .attrs = &attrs, .in = {}, .out = {kernel.output, {images, of_image, channels}, out_stride}};
  Buffers buffers{.in = {}, .out = reinterpret_cast<void*>(out)};
  for (size_t i = 0; i < kernel.inputs.size(); ++i) {
    Operand in{.dtype = kernel.inputs[i].dtype, .shape = {}, .pitch = strides[i]};
    switch (kernel.inputs[i].broadcast) {
      case TileBroadcast::full:
        in.shape = {images, of_image, channels};
        break;
      case TileBroadcast::row:
        in.shape = {images, of_image, 1};
        break;
      case TileBroadcast::channel:
        in.shape = {channels};
        break;
      case TileBroadcast::image_channel:
        in.shape = {images, 1, channels};
        break;
      case TileBroadcast::scalar:
        in.shape = {1};
        break;
    }
    call.in.emplace_back(in);
    buffers.in.push_back(reinterpret_cast<void*>(pointers[i]));
  }
  const Answer answer = cpu::device()->find("tile")->ask(call, cpu::device()->target());
  if (!answer.offer) throw InternalError("the CPU's tile refuses: " + answer.reason);
  const auto stream = cpu::device()->stream();
  answer.offer->bind(buffers)->run(*stream);
}

}  // namespace vivace::cuda
