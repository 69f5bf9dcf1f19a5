// is_finite: a floating-point number is NaN or infinity when all its exponent bits are set.
#include <algorithm>
#include <atomic>

#include "base/parallel.h"
#include "weights/weight_map.h"

namespace vivace {
namespace {

template <class Word>
bool all_finite(const void* data, int64_t count, Word magnitude, Word first_bad) {
  const auto* words = static_cast<const Word*>(data);
  std::atomic<bool> finite{true};
  parallel_for(count, int64_t{1} << 16, [&](int64_t begin, int64_t end) {
    // Blocks of a fixed length without a branch inside: this is what the compiler vectorises.
    constexpr int64_t kBlock = 1024;
    while (begin < end && finite.load(std::memory_order_relaxed)) {
      Word bad = 0;
      if (end - begin >= kBlock) {
        for (int64_t i = 0; i < kBlock; ++i) bad |= static_cast<Word>((words[begin + i] & magnitude) >= first_bad);
        begin += kBlock;
      } else {
        for (; begin < end; ++begin) bad |= static_cast<Word>((words[begin] & magnitude) >= first_bad);
      }
      if (bad) finite = false;
    }
  });
  return finite;
}

}  // namespace

bool is_finite(const WeightInfo& weight) {
  const int64_t count = numel(weight.shape);
  switch (weight.dtype) {
    case DType::float32:
      return all_finite<uint32_t>(weight.data, count, 0x7fffffffu, 0x7f800000u);
    case DType::float16:
      return all_finite<uint16_t>(weight.data, count, 0x7fff, 0x7c00);
    case DType::bfloat16:
      return all_finite<uint16_t>(weight.data, count, 0x7fff, 0x7f80);
    case DType::float64:
      return all_finite<uint64_t>(weight.data, count, ~uint64_t{0} >> 1, uint64_t{0x7ff} << 52);
    case DType::float8_e4m3:
      return all_finite<uint8_t>(weight.data, count, 0x7f, 0x7f);  // one NaN, no infinity
    default:
      return true;
  }
}

}  // namespace vivace
