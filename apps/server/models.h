// The models that the server draws with, by name. Loaded when one is first asked for; where they take more memory than is allowed, the one that was
// not used for longest goes.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "job.h"
#include "previews.h"
#include "vivace/pipeline.h"

namespace vivace::server {

struct ModelEntry {
  std::string name, folder;
  std::string class_name;  // of its pipeline; empty for a file, which says none
};
// "sdxl=/models/sdxl", or a folder or file, whose name is the model's. Throws UserError where there is nothing, UsageError for a name that is taken.
std::vector<ModelEntry> model_entries(const std::vector<std::string>& texts);

// A model, opened as one class.
class LoadedModel {
 public:
  // `preview_decoder`: as Previews has it.
  explicit LoadedModel(DiffusionPipeline pipe, std::shared_ptr<const AutoencoderTiny> preview_decoder = nullptr);

  // Whatever is const may be called while it draws.
  const DiffusionPipeline& pipe() const { return pipe_; }
  // Every default of the call filled in, and every argument checked. For any thread. Throws UsageError.
  struct Settings {
    int64_t height = 0, width = 0;
    int steps = 0;
    double guidance_scale = 0;
  };
  Settings settings(const std::string& prompt, const CallOptions& call) const;
  // Of a call that says nothing, beside a blank picture where the class begins with one.
  Settings defaults() const;
  // The call in the words of this class: where the picture says the size, it gets the one that is asked for; with a mask, the size is the picture's
  // unless one is asked for.
  CallOptions fitted(CallOptions call) const;
  // Whether what a call for this task is drawn with is this class.
  bool serves(Task task) const;
  const std::string& scheduler_class() const { return scheduler_class_; }
  // Of the prompt, for its text encoder, without padding.
  int64_t tokens(const std::string& prompt) const;

  // Of the thread that draws, between two calls. "": the model's own; `overrides`: fields of its config. Throws UsageError.
  void use_scheduler(const std::string& name, const std::string& overrides);
  // These over the weights and no others. Throws UserError for a file that does not fit.
  void use_loras(const std::vector<LoraChoice>& loras);
  size_t bytes() const;             // weights as they are prepared, and activations
  size_t activation_bytes() const;  // those alone
  Previews& previews() { return previews_; }

 private:
  DiffusionPipeline pipe_;
  mutable std::mutex mutex_;  // of the pipeline's scheduler
  std::string scheduler_class_, scheduler_config_, scheduler_now_;
  std::vector<LoraChoice> loaded_;                                             // adapters
  std::optional<std::vector<LoraChoice>> active_ = std::vector<LoraChoice>();  // of these; nullopt: not known
  Previews previews_;
};

class Models {
 public:
  using Load = std::function<DiffusionPipeline(const std::string& folder, Task task)>;
  Models(std::vector<ModelEntry> entries, Load load, size_t most_bytes, std::shared_ptr<const AutoencoderTiny> preview_decoder = nullptr);

  const std::vector<ModelEntry>& entries() const { return entries_; }
  // nullptr for a name that there is none of.
  const ModelEntry* find(const std::string& name) const;
  // What is drawn with where a request names none: the first, until another is chosen.
  std::string chosen() const;
  void choose(const std::string& name);
  // What a call for this task is drawn with; nullptr where it is not loaded.
  std::shared_ptr<const LoadedModel> loaded(const std::string& name, Task task = Task::text_to_image) const;
  size_t bytes() const;

  // Of the thread that draws. Throws UserError.
  std::shared_ptr<LoadedModel> load(const std::string& name, Task task = Task::text_to_image);
  // After a call, which may have prepared weights: lets models go but for `name`.
  void keep_within_budget(const std::string& name);

 private:
  struct Row {
    std::array<std::shared_ptr<LoadedModel>, 3> by_task;  // the first is of the class that the model says it is; they share prepared weights
    uint64_t used = 0;                                    // the higher, the later
    size_t bytes = 0;
    const std::shared_ptr<LoadedModel>& at(Task task) const { return by_task[static_cast<size_t>(task)]; }
  };

  const std::vector<ModelEntry> entries_;
  const Load load_;
  const size_t most_bytes_;
  const std::shared_ptr<const AutoencoderTiny> preview_decoder_;
  mutable std::mutex mutex_;
  std::vector<Row> rows_;  // as entries_
  size_t chosen_ = 0;
  uint64_t uses_ = 0;
};

}  // namespace vivace::server
