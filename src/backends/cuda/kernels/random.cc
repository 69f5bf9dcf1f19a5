#include "backends/cuda/kernels/random.h"

#include <algorithm>

namespace vivace::cuda {

Call<RandomArguments> make_random(const RandomArguments& a, int multiprocessors, int threads_each) {
  constexpr unsigned kBlock = 256;  // torch's
  const auto most = static_cast<unsigned>(multiprocessors) * (static_cast<unsigned>(threads_each) / kBlock);
  return {{.source = "random.cuh",
           .function = "random_numbers",
           .arguments = "RandomArguments",
           .grid = {std::max(1u, std::min(most, blocks_for(a.count, kBlock))), 1, 1},
           .block = kBlock},
          a};
}

unsigned long long offset_after(const Call<RandomArguments>& call) {
  if (call.arguments.count == 0) return call.arguments.offset;
  const auto round = static_cast<unsigned long long>(call.launch.grid[0]) * call.launch.block * 4;
  return call.arguments.offset + ((static_cast<unsigned long long>(call.arguments.count) - 1) / round + 1) * 4;
}

}  // namespace vivace::cuda
