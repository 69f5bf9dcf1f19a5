// What a pipeline is made of, by the names of model_index.json.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "components/component.h"
#include "tokenizers/tokenizer.h"
#include "vivace/models.h"
#include "vivace/scheduler.h"

namespace vivace {

struct Parts {
  std::string class_name, path;  // of the pipeline and its folder
  std::map<std::string, std::unique_ptr<Model>, std::less<>> models;
  std::map<std::string, std::string, std::less<>> classes;    // of the models, as model_index.json names them
  std::map<std::string, std::string, std::less<>> elsewhere;  // the folders of parts that lie outside of `path`
  std::map<std::string, std::shared_ptr<const Tokenizer>, std::less<>> tokenizers;
  std::unique_ptr<Scheduler> scheduler;

  bool has(std::string_view name) const { return models.contains(name); }
  // Throws UsageError that names the models that there are.
  Model& model(std::string_view name) const;
  // The inside of a model that the family's part table promises, with the class that stands behind it.
  template <class T>
  T& component(std::string_view name) const {
    return static_cast<T&>(model(name).component());
  }
  // nullptr where the checkpoint has none.
  const Tokenizer* tokenizer(std::string_view name) const;
  // "path/unet", for messages.
  std::string folder(std::string_view name) const;
};

}  // namespace vivace
