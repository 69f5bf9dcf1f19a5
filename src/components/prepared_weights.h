// What components of one checkpoint share in a process: the weights as kernels read them, and where these are kept on disk.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/turns.h"
#include "components/component_cache.h"
#include "runtime/constants.h"

namespace vivace {

struct PreparedWeights {
  explicit PreparedWeights(std::shared_ptr<Device> device) : store(std::move(device)) {}

  ConstantStore store;
  ComponentCache cache;
  Turns turns;  // of those who prepare: a second one finds what the first has made, instead of making it beside it

  // Those that components of that key share while one of them lives; a first one by `make`.
  static std::shared_ptr<PreparedWeights> shared(const std::string& key, const std::function<std::shared_ptr<PreparedWeights>()>& make);
};

}  // namespace vivace
