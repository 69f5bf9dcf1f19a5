// Which prepared weights of a file have been found to be whole, noted in the cache, so that gigabytes are not read from one end to the other before
// every start.
#pragma once

#include <memory>
#include <string>

#include "base/cache_folder.h"
#include "runtime/constants.h"

namespace vivace {

// Of one file, under the stamp that it had, which the kernel changes with the file.
class WholeNotes {
 public:
  // `name`: what the file is to the cache.
  WholeNotes(CacheFolder folder, std::string name) : folder_(std::move(folder)), name_(std::move(name)) {}

  // Nothing where none is kept of the file as it is.
  ConstantStore::Whole known(const FileStamp& stamp) const;
  void keep(const FileStamp& stamp, const ConstantStore::Whole& whole) const;
  // Keeps what a store finds, as long as the file is as it was.
  ConstantStore::Checked keeper(std::shared_ptr<const FileMap> file, const FileStamp& stamp) const;

 private:
  std::string key() const;

  CacheFolder folder_;
  std::string name_;
};

}  // namespace vivace
