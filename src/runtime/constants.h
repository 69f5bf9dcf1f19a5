// ConstantStore: prepared weights by what they are, shared by all sessions of a model. Any thread may use it.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/constant_file.h"
#include "runtime/constant_id.h"
#include "runtime/device.h"

namespace vivace {

class ConstantStore {
 public:
  explicit ConstantStore(std::shared_ptr<Device> device);
  // nullptr when it has not been made, nor lies in a file with this size. What comes from a file may be used once check_found() has read it.
  // It is copied to a device that cannot read it, and is there once `stream` is. A constant may lie in both memories.
  std::shared_ptr<void> find(const ConstantId& id, size_t bytes, Stream& stream, Memory memory = Memory::device);
  // Reads what was found in files since the last call (all threads), but for what is known to be whole: that is read in the background, in the order
  // in which a plan uses it. False where some of it is damaged: then nothing that was found counts, and the files that it lay in are not asked again.
  // (What find() copied it has read, where it was not known to be whole.) Interrupted, and nothing that was found counts, where `stop` is asked for.
  bool check_found(const std::stop_token& stop = {});
  // `fresh`: made here and worth keeping, which take_new() gives.
  void put(const Constant& constant, bool fresh = true);
  // The device's own of a constant in Memory::host, which stays until it is there: once `stream` is.
  std::shared_ptr<void> on_device(const Constant& constant, Stream& stream);
  // Memory for a constant, 64-byte aligned. Constants share huge pages: with pages of its own, a 1280x1280 layer in int8 would take a quarter more.
  std::shared_ptr<void> allocate(size_t bytes);
  // Constants made by an earlier start. `damaged` is called when one of them turns out to be, and may throw where they cannot be made again.
  using Damaged = std::function<void(const ConstantFile& file)>;
  // Of a file's constants, by number: whether it has been found to be whole, and is as it was then. Told as more of them are.
  using Whole = std::vector<uint8_t>;
  using Checked = std::function<void(const Whole& whole)>;
  void add_file(std::shared_ptr<const ConstantFile> file, Damaged damaged, Whole whole = {}, Checked checked = nullptr);
  size_t bytes(Memory memory = Memory::device) const;  // those in use
  // Those of Memory::device that lie in no mapped file, whose pages the system takes back where it has no others.
  size_t taken_bytes() const;
  // As when it was made. Who holds constants keeps them.
  void clear();
  // Those in the device's memory go; what lies in the host's and in files stays.
  void leave_device();

  // Drops these; their memory serves later ones of the same size, once nobody has it.
  void forget(const std::set<ConstantId>& ids);
  // What has been made here, not read from a file, since the last call: to be kept.
  std::vector<Constant> take_new();

 private:
  mutable std::mutex mutex_;  // of what follows
  std::shared_ptr<Device> device_;
  struct File {
    std::shared_ptr<const ConstantFile> file;
    Damaged damaged;
    Whole whole;
    Checked checked;
    bool news = false;  // that `checked` has not been told
  };
  struct Found {
    ConstantId id;
    std::shared_ptr<const ConstantFile> file;
    const ConstantFile::Entry* entry;
  };
  void drop(const std::shared_ptr<const ConstantFile>& file);
  File& file_of(const Found& found);
  void tell_checked();
  void read_ahead(std::vector<Found> found);

  struct Entry {
    std::shared_ptr<void> data;
    size_t bytes;
    bool mapped = false;
  };
  std::map<std::pair<ConstantId, Memory>, Entry> entries_;
  void erase(const ConstantId& id, Memory memory);
  std::vector<File> files_;
  std::vector<Found> found_;  // not read yet
  std::vector<Constant> new_;
  std::array<size_t, 2> bytes_{};  // by Memory
  std::shared_ptr<void> chunk_;    // that the next constants go to
  size_t chunk_bytes_ = 0, chunk_used_ = 0;
  struct FreeBlocks;
  std::shared_ptr<FreeBlocks> free_;  // of chunks
  std::jthread reading_;              // what was found
};

// A copy of the host's bytes in one of the device's memories, there once `stream` is.
std::shared_ptr<void> copy_for(Device& device, Memory memory, Stream& stream, const void* host, size_t bytes);

// The same of what lies in Memory::host and stays until then.
std::shared_ptr<void> upload_pinned(Device& device, Stream& stream, const void* pinned, size_t bytes);

}  // namespace vivace
