// Where a plan's weights come from when they are prepared.
#pragma once

#include <functional>
#include <string>

#include "base/hash.h"
#include "vivace/dtype.h"

namespace vivace {

// A checkpoint tensor, where it lies in its mapped file.
struct WeightBytes {
  DType dtype = DType::float32;
  const void* data = nullptr;
};

struct WeightSource {
  std::function<WeightBytes(const std::string& name)> find;
  // The pages of this tensor will not be read again.
  std::function<void(const std::string& name)> release;
  // What the tensor is: equal ones have equal bytes. Empty where a name says that already, as in a package.
  std::function<Hash128(const std::string& name)> origin{};
  // Whether it is an adapter's, which another may replace at any time: what is made of it is not kept on disk. Empty: none is.
  std::function<bool(const std::string& name)> replaceable{};
};

}  // namespace vivace
