// Where files of adapters keep what belongs to a module: derived from the model's names, so that nothing has to be guessed back from a file's.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vivace/tensor.h"
#include "weights/name_rules.h"

namespace vivace {

// The part of a pipeline that an adapter is for.
struct AdapterTarget {
  std::string part;                                   // by its name in model_index.json: "unet"
  std::string class_name;                             // "UNet2DConditionModel"
  std::map<std::string, Shape, std::less<>> weights;  // of the model, by name
};

class LoraSpelling {
 public:
  // Whether files hold something for a part of that name.
  static bool takes(std::string_view part);
  explicit LoraSpelling(const AdapterTarget& target);
  // Every name that a module may have in a file, the most usual first: what follows it says which factor it is. A file may hold several modules as
  // one, of which this one is `rows`.
  std::vector<FileName> of(const std::string& module) const;

 private:
  std::string part_;
  std::span<const NameRule> original_;  // names of the original code
  RuleNumbers numbers_;
};

}  // namespace vivace
