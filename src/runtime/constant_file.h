// Prepared weights as bytes: what the cache and packages keep, so that a second start packs nothing. They are used where they lie in the mapped file.
//
//   "VIVACEWT", u32 version, u32 count, u64 bytes in all, u64 XXH3 of the entries; entries; each constant at a multiple of 64
//   entry: 16 bytes XXH3-128 of the constant's key, u64 offset, u64 bytes, u64 XXH3 of the bytes.      Numbers are little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vivace {

inline constexpr uint32_t kConstantFileVersion = 1;

struct Constant {
  std::string key;
  std::shared_ptr<void> data;
  size_t bytes = 0;
};

class ConstantFile {
 public:
  // `bytes` are aligned to 64 and kept by `owner`. Checks everything, the constants' checksums too (all threads; this reads every byte).
  // Throws UserError that begins with `name`: no such file, another version, cut short, damaged.
  static std::shared_ptr<const ConstantFile> open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& name);

  // The constant, keeping the file mapped; nullptr when there is none with this key and size.
  std::shared_ptr<void> find(const std::string& key, size_t bytes) const;
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_.size(); }

  // What write() passes on, in all.
  static uint64_t bytes_of(const std::vector<Constant>& constants);
  // In pieces. Reads each constant twice: for its checksum, and to pass it on.
  static void write(const std::vector<Constant>& constants, const std::function<void(std::span<const std::byte>)>& sink);

 private:
  struct Entry {
    uint64_t key[2];
    uint64_t offset, bytes, checksum;
  };
  void check(const std::string& name) const;

  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::vector<Entry> entries_;  // by key
};

}  // namespace vivace
