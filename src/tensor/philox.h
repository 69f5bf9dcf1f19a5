// The numbers of torch.Generator("cuda"): Philox 4x32-10 (Salmon et al., SC 2011), a subsequence a thread of the GPU, four numbers at a time, each a
// whole grid further on in the tensor.
#pragma once

#include <cstdint>
#include <span>

namespace vivace {

// Fills `values` with torch.randn's numbers (`normal`) or torch.rand's, of a generator that stands at `offset` on a GPU that runs `threads` threads
// at once, a multiple of 256. Returns where it stands then.
uint64_t philox_fill(std::span<float> values, uint64_t seed, uint64_t offset, int64_t threads, bool normal);

}  // namespace vivace
