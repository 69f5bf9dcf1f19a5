// What a call takes of the machine's memory, known before anything is loaded; and what is given back, or waits in the host's memory, so that it fits.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "families/family.h"
#include "pipelines/loaded.h"
#include "runtime/memory_need.h"

namespace vivace {

// The sessions of a call in the order in which they are made.
struct MemoryPlan {
  struct Row {
    std::string part, function;  // "vae", "decode"
    Stage stage;
    MemoryNeed need;
  };
  std::vector<Row> rows;

  // What a call's sessions of a part's function take, and what a VAE is given or makes beside them.
  void add(std::string part, std::string function, Stage stage, MemoryNeed need, const Component& component, const Call& call);
  // The most that is held at a time in this stage, where the parts of other stages hold nothing.
  int64_t peak(Stage stage) const;
  // The same of the whole call: with everything kept, or every stage's parts given back before the next stage.
  int64_t peak(bool gives_back) const;
};

// By part: what stays on the device of the weights of those that do not stay there whole (weight_stream.h).
using ResidentWeights = std::map<std::string, size_t, std::less<>>;

// Finds or compiles the plans of all sessions that the call takes.
MemoryPlan plan_memory(const Recipe& recipe, const Parts& parts, const Call& call, Request& request, const ResidentWeights& resident = {});

// What may be held in all where a pipeline was told nothing else: what is free, beside what its parts hold already and what is mapped of it counts as
// free; without end where nobody says what is.
int64_t memory_limit(const Parts& parts, std::optional<uint64_t> free);

// "encoding 5.3 GB, denoising 13.2 GB, decoding 1.2 GB; at most 13.2 GB at a time, or 18.1 GB with everything kept".
std::string memory_text(const MemoryPlan& plan);

// Of one call: sees that there is room for each stage before it begins.
class CallMemory {
 public:
  // Where the call does not fit but would with a VAE that works in tiles, it is to (Request::vae_tiles); where that is not enough, weights of a
  // device with a memory of its own wait in the host's, which those of all parts do with Offload::sequential. Throws UserError, in one line that says
  // what would fit, where it does not then either.
  CallMemory(const DiffusionPipeline::Loaded& loaded, const Call& call, Request& request);
  // Parts that the stage does not take are given back: with Offload::automatic where there is no room for both, otherwise always.
  void begin(Stage stage);
  // Offload::model and sequential keep nothing behind the call.
  void end();

 private:
  // Whether the call was planned so that it fits.
  bool fit(const Call& call);
  bool fit_streamed(const Call& call, int64_t limit);
  bool always() const { return loaded_.offload == Offload::model || loaded_.offload == Offload::sequential; }
  int64_t held(Stage stage) const;  // by the parts of other stages
  void give_back(Stage stage, bool all);
  bool takes(Stage stage, const std::string& part) const;

  const DiffusionPipeline::Loaded& loaded_;
  Request& request_;
  int64_t limit_ = 0;
  ResidentWeights resident_;
  MemoryPlan plan_;
};

}  // namespace vivace
