// Adapters that requests may name: the files in a folder, so that no request reads another.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "job.h"

namespace vivace::server {

struct LoraEntry {
  std::string name, path;  // "style" of style.safetensors
};

// For any thread.
class Loras {
 public:
  // Empty: there are none. Throws UserError where there is no such folder.
  explicit Loras(std::string folder);
  // Looks into the folder again, and below it.
  void refresh();
  std::vector<LoraEntry> entries() const;
  // Adds to what is chosen. Throws FieldError (of `field`) for a name that there is none of, and for one that is chosen already, so that no request
  // has more of them than there are.
  void choose(std::vector<LoraChoice>& chosen, const std::string& name, double weight, const std::string& field) const;

 private:
  const std::string folder_;
  mutable std::mutex mutex_;
  std::vector<LoraEntry> entries_;
};

// A1111's way to name them: takes "<lora:style:0.8>" out of a prompt. Throws FieldError.
std::vector<LoraChoice> take_loras(std::string& prompt, const Loras& loras);

}  // namespace vivace::server
