#include "runtime/constant_file.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "runtime/device.h"
#include "runtime/request.h"
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

// Constants as the host reads them: where they lie, or through a piece of its memory.
class ConstantReader {
 public:
  explicit ConstantReader(Device& device) : device_(device) {}

  // take(bytes) for each piece in turn, which is there until the next.
  template <class Take>
  void read(const Constant& c, const Take& take) {
    const auto* from = static_cast<const std::byte*>(c.data.get());
    if (c.memory == Memory::host || device_.shares_host_memory()) return take(std::span(from, c.bytes));
    constexpr size_t kPiece = size_t{8} << 20;
    if (!piece_) piece_ = device_.allocate(kPiece, Memory::host);
    if (!stream_) stream_ = device_.stream();
    for (size_t at = 0; at < c.bytes; at += kPiece) {
      const size_t bytes = std::min(kPiece, c.bytes - at);
      stream_->copy_out(piece_.get(), from + at, bytes);
      stream_->wait(request_.counters);
      take(std::span(static_cast<const std::byte*>(piece_.get()), bytes));
    }
  }

 private:
  Device& device_;
  Request request_;
  std::shared_ptr<void> piece_;
  std::unique_ptr<Stream> stream_;  // behind what it may still write when it goes
};

uint64_t checksum_of(const Constant& c, ConstantReader& reader) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  reader.read(c, [&](std::span<const std::byte> piece) { XXH3_64bits_update(state.get(), piece.data(), piece.size()); });
  return XXH3_64bits_digest(state.get());
}

}  // namespace

std::shared_ptr<const ConstantFile> ConstantFile::open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& name) {
  Header header;
  if (bytes.size() < sizeof(header) || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0)
    throw UserError(cat(name, ": holds no prepared weights of Vivace's"));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.version != kConstantFileVersion)
    throw UserError(
        cat(name, ": holds prepared weights of format ", header.version, ", this Vivace reads ", kConstantFileVersion, ": make it again"));
  if (header.bytes != bytes.size())
    throw UserError(cat(name, ": has ", bytes.size(), " bytes, expected ", header.bytes, " (cut short?): make it again"));
  if (header.count > (bytes.size() - sizeof(header)) / sizeof(Entry))
    throw UserError(cat(name, ": damaged: ", header.count, " entries do not fit: make it again"));
  auto file = std::make_shared<ConstantFile>();
  file->bytes_ = bytes;
  file->owner_ = std::move(owner);
  file->entries_.resize(header.count);
  if (header.count > 0) std::memcpy(file->entries_.data(), bytes.data() + sizeof(header), header.count * sizeof(Entry));
  if (header.checksum != XXH3_64bits(file->entries_.data(), header.count * sizeof(Entry)))
    throw UserError(cat(name, ": damaged (its checksum differs): make it again"));
  file->name_ = name;
  for (const Entry& e : file->entries_)
    if (e.offset % kAlignment || e.offset > bytes.size() || e.bytes > bytes.size() - e.offset)
      throw UserError(cat(name, ": damaged: a constant lies outside the file: make it again"));
  return file;
}

const ConstantFile::Entry* ConstantFile::find(const Hash128& id, size_t bytes) const {
  const auto found = std::ranges::lower_bound(entries_, id, {}, &Entry::id);
  return found == entries_.end() || found->id != id || found->bytes != bytes ? nullptr : &*found;
}

std::shared_ptr<void> ConstantFile::data(const Entry& entry) const {
  return {std::const_pointer_cast<void>(owner_), const_cast<std::byte*>(bytes_.data() + entry.offset)};  // kernels only read it
}

bool ConstantFile::is_whole(const Entry& entry) const { return XXH3_64bits(bytes_.data() + entry.offset, entry.bytes) == entry.checksum; }

uint64_t ConstantFile::bytes_of(const std::vector<Constant>& constants) {
  uint64_t bytes = aligned(sizeof(Header) + constants.size() * sizeof(Entry));
  for (const Constant& c : constants) bytes += aligned(c.bytes);
  return bytes;
}

void ConstantFile::write(const std::vector<Constant>& constants, Device& device, const std::function<void(std::span<const std::byte>)>& sink) {
  ConstantReader reader(device);
  std::vector<Entry> entries(constants.size());
  uint64_t offset = aligned(sizeof(Header) + entries.size() * sizeof(Entry));
  for (size_t i = 0; i < entries.size(); ++i) {
    const Constant& c = constants[i];
    entries[i].id = c.id;
    entries[i].offset = offset;
    entries[i].bytes = c.bytes;
    entries[i].checksum = checksum_of(c, reader);
    offset += aligned(c.bytes);
  }
  std::ranges::sort(entries, {}, &Entry::id);
  Header header{.magic = {},
                .version = kConstantFileVersion,
                .count = static_cast<uint32_t>(entries.size()),
                .bytes = offset,
                .checksum = XXH3_64bits(entries.data(), entries.size() * sizeof(Entry))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  const std::byte zeros[kAlignment] = {};
  const auto pad = [&](uint64_t n) { sink(std::span(zeros, aligned(n) - n)); };
  sink(std::as_bytes(std::span(&header, 1)));
  sink(std::as_bytes(std::span(entries)));
  pad(sizeof(header) + entries.size() * sizeof(Entry));
  for (const Constant& c : constants) {
    reader.read(c, sink);
    pad(c.bytes);
  }
}

}  // namespace vivace
