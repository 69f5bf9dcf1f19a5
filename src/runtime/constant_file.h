// Prepared weights as bytes: what the cache and packages keep, so that a second start packs nothing. They are used where they lie in the mapped file,
// of which nothing is read that is not used.
//
//   "VIVACEWT", u32 version, u32 count, u64 bytes in all, u64 XXH3 of the entries; entries; each constant at a multiple of 64
//   entry: 16 bytes of the constant's id, u64 offset, u64 bytes, u64 XXH3 of the bytes.      Numbers are little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "runtime/memory.h"

namespace vivace {

class Device;

inline constexpr uint32_t kConstantFileVersion = 2;

struct Constant {
  Hash128 id;  // constant_id.h
  std::shared_ptr<void> data;
  size_t bytes = 0;
  Memory memory = Memory::device;  // where it lies
};

class ConstantFile {
 public:
  struct Entry {
    Hash128 id;
    uint64_t offset, bytes, checksum;
  };

  // `bytes` are aligned to 64 and kept by `owner`. Checks and reads everything but the constants.
  // Throws UserError that begins with `name`: no such file, another version, cut short, damaged.
  static std::shared_ptr<const ConstantFile> open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& name);

  // nullptr when there is none with this id and size.
  const Entry* find(const Hash128& id, size_t bytes) const;
  // The constant, keeping the file mapped.
  std::shared_ptr<void> data(const Entry& entry) const;
  // Reads it.
  bool is_whole(const Entry& entry) const;
  std::span<const std::byte> bytes_of(const Entry& entry) const { return bytes_.subspan(entry.offset, entry.bytes); }
  size_t number_of(const Entry& entry) const { return static_cast<size_t>(&entry - entries_.data()); }  // below size()
  const std::string& name() const { return name_; }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_.size(); }

  // What write() passes on, in all.
  static uint64_t bytes_of(const std::vector<Constant>& constants);
  // In pieces. Reads each constant twice: for its checksum, and to pass it on. From a memory of the device's own it comes piece by piece too, so that
  // the host has room for one of them alone. Throws UserError where that fails.
  static void write(const std::vector<Constant>& constants, Device& device, const std::function<void(std::span<const std::byte>)>& sink);

 private:
  std::string name_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::vector<Entry> entries_;  // by id
};

}  // namespace vivace
