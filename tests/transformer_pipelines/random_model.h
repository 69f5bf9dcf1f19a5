// Tiny random checkpoints of the transformer families, made from the golden cases' configs.
#pragma once

#include "components/random_checkpoint.h"
#include "temp_folder.h"

namespace vivace {

// `name`: of tests/transformer_pipelines/data/configs, "aura"; in `folder`, which it is made in.
inline std::filesystem::path random_model(const std::string& name, const TempFolder& folder, uint32_t seed = 0) {
  namespace fs = std::filesystem;
  const fs::path source = VIVACE_SOURCE_DIR, configs = folder.path() / "configs", model = folder.path() / "model";
  fs::copy(source / "tests/transformer_pipelines/data/configs" / name, configs, fs::copy_options::recursive);
  if (name == "aura")
    fs::copy(source / "tests/tokenizers/data/llama", configs / "tokenizer");
  else
    for (const char* tokenizer : {"tokenizer", "tokenizer_2"}) fs::copy(source / "assets/emoji-flux" / tokenizer, configs / tokenizer);
  make_random_checkpoint(configs, model, {.seed = seed});
  return model;
}

}  // namespace vivace
