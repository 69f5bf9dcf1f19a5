// One component of a checkpoint for one size, for the tools that look inside: explain, profile, bench-component, info.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "components/models.h"
#include "options.h"
#include "pipelines/loaded.h"

namespace vivace::cli {

struct TargetOptions {
  std::string model, component, dtype = "fp32", variant, profile, recipe, device = "cpu";  // without a component: the denoiser
  std::optional<int64_t> height, width;                                                    // of the picture; default: the model's size
  std::optional<int> num_frames;                                                           // of a video; default: the pipeline's
  std::optional<int> max_sequence_length;                                                  // of a prompt for T5; default: the pipeline's
  int64_t batch = 1;
  bool batch_of_call = false;  // in the place of `batch`, that of the denoiser in a call with the pipeline's defaults: 2 where it has guidance
  bool vae_tiling = false;     // the VAE's sessions are those of tiles
  bool of_call = false;        // a VAE's sessions are those of a call for that size; otherwise of any size that it takes itself
  ModelFlags files;
  CompileFlags compile;
  CacheFlags cache;  // of what max-autotune found; plans and weights are not kept

  // Everything but the component, which is an option to some tools and an argument to others.
  void add(Arguments& app);
};

class ComponentTarget {
 public:
  // Reads configs and, where there are any, the headers of weight files: a folder of configs alone can be explained, but not run.
  // Throws UsageError for an unknown component or a size that the model cannot make, UserError for what cannot be read.
  explicit ComponentTarget(const TargetOptions& options);

  const std::string& name() const { return options_.component; }
  // Of model_index.json.
  std::filesystem::path configs() const { return loaded_->parts.path; }
  std::optional<Stage> stage() const { return stage_; }  // in which a call runs it, where one does
  // All that there are in this checkpoint: "text_encoder", "unet", "vae.decode", ..., at last those that a call does not run.
  const std::vector<std::string>& names() const { return names_; }
  DType dtype() const { return request_.dtype; }  // what it runs in; differs from the one asked for where the config says force_upcast
  const Call& call() const { return call_; }      // of the pipeline, of that size or of its own
  int64_t batch() const { return options_.batch; }
  int num_frames() const { return loaded_->family->videos ? call_.options.num_frames.value_or(0) : 0; }  // of a video; 0: it makes pictures
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  // nullptr where the folder has none.
  const WeightStack* weights() const { return !component_->weights().empty() ? &component_->weights() : nullptr; }
  // --compile and its relatives, or what the profile has in their place, with the layers to be quantised: those that --quantize names, and those that
  // the checkpoint holds in 8 bits.
  const CompileOptions& compile_options() const { return compile_; }
  // Before any pass, and compiled, without timing kernels unless --autotune-seconds says so.
  Graph graph() const { return component_->graph(request_); }
  Plan plan() const { return plan(request_); }
  // The same of every session that a picture or a video takes of the component: batches of frames, tiles. The one above is the last of them.
  std::vector<Plan> plans() const;
  // Compiled, prepared, bound, and given inputs: normal noise, random token ids, timestep 500, time_ids of the size. Throws UserError without
  // weights.
  SessionLease session(Request& request);
  const Component& component() const { return *component_; }
  Device& device() const { return component_->device(); }

 private:
  Plan plan(const GraphRequest& request) const;
  // Each once, at the batch that was asked for.
  void add(GraphRequest request);
  // What a picture of that size, or a video of so many frames, takes of a VAE.
  void ask(const AutoencoderComponent& vae);

  TargetOptions options_;
  std::unique_ptr<DiffusionPipeline::Loaded> loaded_;
  std::vector<std::string> names_;
  Component* component_ = nullptr;
  Call call_;
  int64_t height_ = 0, width_ = 0;
  GraphRequest request_;
  std::vector<GraphRequest> requests_;
  std::optional<Stage> stage_;
  CompileOptions compile_;
};

}  // namespace vivace::cli
