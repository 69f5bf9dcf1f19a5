// Collects names for a message and prints at most twelve of them.
#pragma once

#include <string>

#include "base/log.h"

namespace vivace {

class NameList {
 public:
  void add(const std::string& name) {
    if (count_++ < kShown) text_ += cat(text_.empty() ? "" : ", ", name);
  }
  size_t count() const { return count_; }
  std::string text() const { return count_ > kShown ? cat(text_, " and ", count_ - kShown, " more") : text_; }

 private:
  static constexpr size_t kShown = 12;
  size_t count_ = 0;
  std::string text_;
};

}  // namespace vivace
