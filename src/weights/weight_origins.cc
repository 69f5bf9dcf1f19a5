#include "weights/weight_origins.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <optional>

#include "base/log.h"
#include "base/parallel.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Tensors are hashed in pieces of this size, then their hashes: a piece fits a core's cache, and a large tensor keeps all threads busy.
constexpr size_t kPiece = size_t{1} << 20;

// Whether no other content of the file can have this stamp.
bool tells_apart(const FileStamp& stamp) {
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return stamp.changed % kSecond != 0 && now - stamp.changed > 2 * kSecond;
}

Hash128 combined(const std::vector<Hash128>& pieces, const WeightInfo& tensor) {
  std::string text = cat(dtype_name(tensor.dtype), to_string(tensor.shape), '\n');
  text.append(reinterpret_cast<const char*>(pieces.data()), pieces.size() * sizeof(Hash128));
  return hash128(text);
}

std::vector<Hash128> hash_contents(const TensorFile& file, const std::stop_token& stop) {
  struct Piece {
    size_t tensor, offset, bytes;
  };
  const std::vector<WeightInfo>& tensors = file.tensors();
  std::vector<Piece> pieces;
  std::vector<std::vector<Hash128>> hashes(tensors.size());
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (size_t offset = 0; offset < tensors[t].bytes; offset += kPiece) pieces.push_back({t, offset, std::min(kPiece, tensors[t].bytes - offset)});
    hashes[t].resize((tensors[t].bytes + kPiece - 1) / kPiece);
  }
  const FileMap& map = file.map();
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failed;
  parallel_threads([&](int, int) {
    std::vector<std::byte> buffer(kPiece);
    for (size_t i; !stop.stop_requested() && (i = next++) < pieces.size();) {
      const auto& [t, offset, bytes] = pieces[i];
      const std::byte* data = static_cast<const std::byte*>(tensors[t].data) + offset;
      try {
        // Read rather than mapped: a file that is cut short is an error, and the pages do not count as this process's memory.
        if (data >= map.data() && data < map.data() + map.size()) {
          map.read(static_cast<size_t>(data - map.data()), std::span(buffer).first(bytes));
          data = buffer.data();
        }
        hashes[t][offset / kPiece] = hash128(data, bytes);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failed = std::current_exception();
        next = pieces.size();
      }
    }
  });
  if (failed) std::rethrow_exception(failed);
  if (stop.stop_requested()) throw Interrupted("stopped");
  std::vector<Hash128> result;
  for (size_t t = 0; t < tensors.size(); ++t) result.push_back(combined(hashes[t], tensors[t]));
  return result;
}

std::optional<std::vector<Hash128>> kept(const CacheFolder& cache, const std::string& key, size_t count) {
  const auto bytes = cache.read(cache_kind::kContents, key);
  if (!bytes || bytes->size() != count * sizeof(Hash128)) return std::nullopt;
  std::vector<Hash128> hashes(count);
  std::memcpy(hashes.data(), bytes->data(), bytes->size());
  return hashes;
}

}  // namespace

std::vector<Hash128> WeightOrigins::origins_of(const TensorFile& file, const std::stop_token& stop) const {
  const FileMap& map = file.map();
  const std::string stamp = map.stamp().text();
  if (!cache_.enabled()) {
    std::vector<Hash128> result;
    for (size_t t = 0; t < file.tensors().size(); ++t) result.push_back(hash128(cat(stamp, " tensor ", t)));
    return result;
  }
  const std::string key = cat(stamp, ": hashes of the tensors' contents, version 1");
  map.check_unchanged();
  const bool sure = tells_apart(map.stamp());
  if (sure)
    if (auto hashes = kept(cache_, key, file.tensors().size())) return *std::move(hashes);
  std::vector<Hash128> hashes = hash_contents(file, stop);
  map.check_unchanged();
  if (sure && map.stamp() == map.stamp_now())
    cache_.write(cache_kind::kContents, key, std::string_view(reinterpret_cast<const char*>(hashes.data()), hashes.size() * sizeof(Hash128)));
  return hashes;
}

Hash128 WeightOrigins::of(const WeightInfo& weight, const std::stop_token& stop) const {
  const TensorFile& file = weights_.file_of(weight);
  const std::lock_guard lock(mutex_);
  auto found = known_.find(&file);
  if (found == known_.end()) found = known_.emplace(&file, origins_of(file, stop)).first;
  return found->second[weight.index];
}

Hash128 WeightOrigins::of_all(const std::stop_token& stop) const {
  std::call_once(asked_for_all_, [&] {
    std::string text;
    for (const WeightInfo& weight : weights_.weights()) text += cat(weight.name, ' ', to_string(of(weight, stop)), '\n');
    all_ = hash128(text);
  });
  return all_;
}

}  // namespace vivace
