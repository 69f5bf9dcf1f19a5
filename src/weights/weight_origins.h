// What each tensor of a checkpoint is, so that nothing that was made of one is ever taken for what another one makes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "base/cache_folder.h"
#include "base/hash.h"
#include "weights/weight_map.h"

namespace vivace {

// With a cache, which outlives the process: the hash of the tensor's type, shape and bytes, of all of them, wherever they lie and whatever they are
// called. A file is read for it once, by all threads. The hashes are kept in the cache by the file's device, inode, size and times, of which the time
// of the change of status (ctime) is the kernel's own, so no archive or build system sets it; where it may not tell two contents apart (it is less
// than two seconds old, or the file system keeps whole seconds, as images of one fixed time do) the file is read again. Without a cache: the file's
// device, inode, size and times and the tensor's number, which tell apart what one process has mapped and read nothing.
class WeightOrigins {
 public:
  WeightOrigins(WeightMap weights, CacheFolder cache) : weights_(std::move(weights)), cache_(std::move(cache)) {}

  const WeightMap& weights() const { return weights_; }
  // Any thread may ask. Throws UserError where the file is not what it was when it was opened, Interrupted once `stop` is asked for while it is read.
  Hash128 of(const WeightInfo& weight, const std::stop_token& stop = {}) const;
  // Of all tensors and their names.
  Hash128 of_all(const std::stop_token& stop = {}) const;

 private:
  std::vector<Hash128> origins_of(const TensorFile& file, const std::stop_token& stop) const;

  WeightMap weights_;
  CacheFolder cache_;
  mutable std::mutex mutex_;
  mutable std::map<const TensorFile*, std::vector<Hash128>> known_;
  mutable std::once_flag asked_for_all_;
  mutable Hash128 all_;
};

}  // namespace vivace
