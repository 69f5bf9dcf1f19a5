// What a call takes of the machine's memory, known before anything is loaded; and what is given back while it runs, so that it fits.
#pragma once

#include <string>
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

// Finds or compiles the plans of all sessions that the call takes.
MemoryPlan plan_memory(const Recipe& recipe, const Parts& parts, const Call& call, Request& request);

// "encoding 5.3 GB, denoising 13.2 GB, decoding 1.2 GB; at most 13.2 GB at a time, or 18.1 GB with everything kept".
std::string memory_text(const MemoryPlan& plan);

// Of one call: sees that there is room for each stage before it begins.
class CallMemory {
 public:
  // Where the call does not fit but would with a VAE that works in tiles, it is to (Request::vae_tiles). Throws UserError, in one line that says what
  // would fit, where it does not then either.
  CallMemory(const DiffusionPipeline::Loaded& loaded, const Call& call, Request& request);
  // Parts that the stage does not take are given back: always with Offload::model, with Offload::automatic where there is no room for both.
  void begin(Stage stage);
  // Offload::model keeps nothing behind the call.
  void end();

 private:
  int64_t held(Stage stage) const;  // by the parts of other stages
  void give_back(Stage stage, bool all);
  bool takes(Stage stage, const std::string& part) const;

  const DiffusionPipeline::Loaded& loaded_;
  Request& request_;
  MemoryPlan plan_;
  int64_t limit_ = 0;
};

}  // namespace vivace
