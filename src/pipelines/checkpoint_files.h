// Where the parts of a pipeline lie: in the folder of a checkpoint, in one file that holds several of them, and in what the caller names instead.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "components/component.h"
#include "vivace/pipeline.h"

namespace vivace {

struct PartFiles {
  std::filesystem::path folder;                     // of its configs, and of its weights where none are given
  std::shared_ptr<const ComponentWeights> weights;  // of a file
};

class CheckpointFiles {
 public:
  // `path` is a folder in Diffusers layout, or a file of tensors: then the configs are those of the program that fit it, or options.config. Throws
  // UserError where there is nothing, where the file is of no model that is known, or where it cannot be read.
  CheckpointFiles(const std::filesystem::path& path, const PretrainedOptions& options);

  // Of model_index.json.
  const std::filesystem::path& configs() const { return configs_; }
  bool is_file() const { return file_.has_value(); }
  // What `path` was, for messages.
  const std::string& name() const { return name_; }
  // Of a model of this class. Throws UserError where the file does not hold it, saying what to name.
  PartFiles model(std::string_view part, std::string_view class_name) const;
  // Of a tokenizer. The folder may be missing where the checkpoint is a folder.
  std::filesystem::path tokenizer(std::string_view part) const;
  // Text of scheduler_config.json, with what the file says of its predictions.
  std::string scheduler_config() const;

 private:
  std::string name_;
  std::filesystem::path configs_;
  std::map<std::string, std::filesystem::path> given_;
  std::optional<WeightMap> file_;
  bool guessed_ = false;  // the configs are those that fit the file's tensors
};

}  // namespace vivace
