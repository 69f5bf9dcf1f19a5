// Tiny random checkpoints of the video families, made from the golden cases' configs.
#pragma once

#include "components/random_checkpoint.h"
#include "temp_folder.h"

namespace vivace {

// `name`: of tests/video_pipelines/data/configs, "2b"; in `folder`, which it is made in.
inline std::filesystem::path random_video_model(const std::string& name, const TempFolder& folder, uint32_t seed = 0) {
  namespace fs = std::filesystem;
  const fs::path source = VIVACE_SOURCE_DIR, configs = folder.path() / "configs", model = folder.path() / "model";
  fs::copy(source / "tests/video_pipelines/data/configs" / name, configs, fs::copy_options::recursive);
  fs::copy(source / "assets/emoji-flux/tokenizer_2", configs / "tokenizer");
  make_random_checkpoint(configs, model, {.seed = seed});
  return model;
}

}  // namespace vivace
