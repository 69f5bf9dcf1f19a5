// ConstantStore: the prepared weights of one model, by key, shared by all its sessions.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

namespace vivace {

// Page-aligned memory that asks for huge pages; freed with its last owner. Throws UserError when it cannot be had.
std::shared_ptr<void> allocate_pages(size_t bytes);

class ConstantStore {
 public:
  // nullptr when `key` has not been made.
  std::shared_ptr<void> find(const std::string& key) const;
  void put(const std::string& key, std::shared_ptr<void> data, size_t bytes);
  size_t bytes() const { return bytes_; }

 private:
  std::map<std::string, std::shared_ptr<void>> entries_;
  size_t bytes_ = 0;
};

}  // namespace vivace
