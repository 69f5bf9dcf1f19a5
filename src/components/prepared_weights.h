// What components of one checkpoint share in a process: the weights as kernels read them, and where these are kept on disk.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
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

  // One of those that share these, while it lives.
  class User {
   public:
    // `drop` lets go of what is held of the store and nobody works with: idle sessions. Called under `turns`.
    User(std::shared_ptr<PreparedWeights> of, std::function<void()> drop);
    ~User();
    User(const User&) = delete;

   private:
    friend struct PreparedWeights;
    const std::shared_ptr<PreparedWeights> of_;
    const std::function<void()> drop_;
  };
  // By all users, so that what goes from the store is free.
  void drop_idle();

  // Those that components of that key share while one of them lives; a first one by `make`.
  static std::shared_ptr<PreparedWeights> shared(const std::string& key, const std::function<std::shared_ptr<PreparedWeights>()>& make);

 private:
  std::mutex mutex_;
  std::list<User*> users_;
};

}  // namespace vivace
