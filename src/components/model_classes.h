// The model classes that model_index.json may name, a row each.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "components/component.h"
#include "ir/graph.h"
#include "vivace/models.h"

namespace vivace {

struct ModelClass {
  std::string_view name;                    // "UNet2DConditionModel"
  std::string_view weights;                 // the file that its library writes, without ".safetensors"
  std::vector<std::string_view> functions;  // what can be compiled on its own: "decode"
  std::unique_ptr<Model> (*open)(const std::filesystem::path& folder, const ComponentOptions& options) = nullptr;
  // The smallest graphs that together read every weight. (Of a config that leaves it open, with the most there may be.)
  std::vector<Graph> (*graphs)(const Config& config) = nullptr;
};

std::span<const ModelClass> model_classes();
// nullptr for a class that there is none for.
const ModelClass* find_model_class(std::string_view name);

}  // namespace vivace
