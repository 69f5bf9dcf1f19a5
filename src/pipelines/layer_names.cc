#include "pipelines/layer_names.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "components/component.h"
#include "components/models.h"
#include "vivace/error.h"

namespace vivace {

void check_layer_names(const Parts& parts, const CompileOptions& options) {
  const auto check = [&](const std::string& layer, const char* field) {
    // A causal convolution of videos is a layer that holds a plain one, by that name.
    const auto has = [&](const auto& entry) {
      const WeightStack& weights = entry.second->component().weights();
      return weights.find(layer + ".weight") || weights.find(layer + ".conv.weight");
    };
    if (std::ranges::none_of(parts.models, has))
      throw UsageError(cat(field, " names the layer \"", layer, "\", which this ", parts.class_name, " does not have: see vivace explain"));
  };
  for (const auto& [layer, budget] : options.error_budget.layers) check(layer, "error_budget");
  for (const auto& [layer, kind] : options.quantize) check(layer, "quantize");
}

}  // namespace vivace
