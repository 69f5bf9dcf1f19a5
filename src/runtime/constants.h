// ConstantStore: the prepared weights of one model, by key, shared by all its sessions. Any thread may use it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/constant_file.h"
#include "runtime/device.h"

namespace vivace {

class ConstantStore {
 public:
  explicit ConstantStore(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  // nullptr when `key` has not been made, nor lies in a file with this size.
  // What comes from a file is copied to a device that cannot read it, and is there once `stream` is.
  std::shared_ptr<void> find(const std::string& key, size_t bytes, Stream& stream);
  // `fresh`: made here, which take_new() gives.
  void put(const std::string& key, std::shared_ptr<void> data, size_t bytes, bool fresh = true);
  // Memory for a constant, 64-byte aligned. Constants share huge pages: with pages of its own, a 1280x1280 layer in int8 would take a quarter more.
  std::shared_ptr<void> allocate(size_t bytes);
  // Constants made by an earlier start.
  void add_file(std::shared_ptr<const ConstantFile> file);
  size_t bytes() const;  // those in use

  // What has been made here, not read from a file, since the last call: to be kept.
  std::vector<Constant> take_new();

 private:
  mutable std::mutex mutex_;  // of what follows
  std::shared_ptr<Device> device_;
  std::map<std::string, std::shared_ptr<void>> entries_;
  std::vector<std::shared_ptr<const ConstantFile>> files_;
  std::vector<Constant> new_;
  size_t bytes_ = 0;
  std::shared_ptr<void> chunk_;  // that the next constants go to
  size_t chunk_bytes_ = 0, chunk_used_ = 0;
};

// The same constants in memory that the host reads: those given where the device shares it.
std::vector<Constant> on_host(std::vector<Constant> constants, Device& device, RequestCounters& counters);

}  // namespace vivace
