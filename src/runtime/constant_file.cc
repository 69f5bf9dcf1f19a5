#include "runtime/constant_file.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <tuple>

#include "base/log.h"
#include "base/parallel.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr char kMagic[8] = {'V', 'I', 'V', 'A', 'C', 'E', 'W', 'T'};
constexpr size_t kAlignment = 64;

struct Header {
  char magic[8];
  uint32_t version, count;
  uint64_t bytes, checksum;
};
static_assert(sizeof(Header) == 32);

uint64_t aligned(uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

auto key_order(const auto& entry) { return std::tie(entry.key[0], entry.key[1]); }

void hash_key(const std::string& key, uint64_t (&hash)[2]) {
  const XXH128_hash_t h = XXH3_128bits(key.data(), key.size());
  hash[0] = h.low64;
  hash[1] = h.high64;
}

}  // namespace

std::shared_ptr<const ConstantFile> ConstantFile::open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& name) {
  Header header;
  if (bytes.size() < sizeof(header) || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) throw UserError(cat(name, ": holds no prepared weights of Vivace's"));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.version != kConstantFileVersion)
    throw UserError(cat(name, ": holds prepared weights of format ", header.version, ", this Vivace reads ", kConstantFileVersion, ": make it again"));
  if (header.bytes != bytes.size()) throw UserError(cat(name, ": has ", bytes.size(), " bytes, expected ", header.bytes, " (cut short?): make it again"));
  if (header.count > (bytes.size() - sizeof(header)) / sizeof(Entry)) throw UserError(cat(name, ": damaged: ", header.count, " entries do not fit: make it again"));
  auto file = std::make_shared<ConstantFile>();
  file->bytes_ = bytes;
  file->owner_ = std::move(owner);
  file->entries_.resize(header.count);
  if (header.count > 0) std::memcpy(file->entries_.data(), bytes.data() + sizeof(header), header.count * sizeof(Entry));
  if (header.checksum != XXH3_64bits(file->entries_.data(), header.count * sizeof(Entry))) throw UserError(cat(name, ": damaged (its checksum differs): make it again"));
  file->check(name);
  return file;
}

void ConstantFile::check(const std::string& name) const {
  for (const Entry& e : entries_)
    if (e.offset % kAlignment || e.offset > bytes_.size() || e.bytes > bytes_.size() - e.offset)
      throw UserError(cat(name, ": damaged: a constant lies outside the file: make it again"));
  std::atomic<size_t> next{0};
  std::atomic<bool> good{true};
  parallel_threads([&](int, int) {
    for (size_t i; (i = next++) < entries_.size();)
      if (XXH3_64bits(bytes_.data() + entries_[i].offset, entries_[i].bytes) != entries_[i].checksum) good = false;
  });
  if (!good) throw UserError(cat(name, ": damaged (the checksum of a constant differs): make it again"));
}

std::shared_ptr<void> ConstantFile::find(const std::string& key, size_t bytes) const {
  Entry wanted{};
  hash_key(key, wanted.key);
  const auto found = std::ranges::lower_bound(entries_, wanted, [](const Entry& a, const Entry& b) { return key_order(a) < key_order(b); });
  if (found == entries_.end() || key_order(*found) != key_order(wanted) || found->bytes != bytes) return nullptr;
  return {std::const_pointer_cast<void>(owner_), const_cast<std::byte*>(bytes_.data() + found->offset)};  // kernels only read it
}

uint64_t ConstantFile::bytes_of(const std::vector<Constant>& constants) {
  uint64_t bytes = aligned(sizeof(Header) + constants.size() * sizeof(Entry));
  for (const Constant& c : constants) bytes += aligned(c.bytes);
  return bytes;
}

void ConstantFile::write(const std::vector<Constant>& constants, const std::function<void(std::span<const std::byte>)>& sink) {
  std::vector<Entry> entries(constants.size());
  uint64_t offset = aligned(sizeof(Header) + entries.size() * sizeof(Entry));
  for (size_t i = 0; i < entries.size(); ++i) {
    const Constant& c = constants[i];
    hash_key(c.key, entries[i].key);
    entries[i].offset = offset;
    entries[i].bytes = c.bytes;
    entries[i].checksum = XXH3_64bits(c.data.get(), c.bytes);
    offset += aligned(c.bytes);
  }
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) { return key_order(a) < key_order(b); });
  Header header{.magic = {}, .version = kConstantFileVersion, .count = static_cast<uint32_t>(entries.size()), .bytes = offset,
                .checksum = XXH3_64bits(entries.data(), entries.size() * sizeof(Entry))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  const std::byte zeros[kAlignment] = {};
  const auto pad = [&](uint64_t n) { sink(std::span(zeros, aligned(n) - n)); };
  sink(std::as_bytes(std::span(&header, 1)));
  sink(std::as_bytes(std::span(entries)));
  pad(sizeof(header) + entries.size() * sizeof(Entry));
  for (const Constant& c : constants) {
    sink({static_cast<const std::byte*>(c.data.get()), c.bytes});
    pad(c.bytes);
  }
}

}  // namespace vivace
