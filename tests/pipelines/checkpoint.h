// Checkpoints of golden cases (tools/golden/pipeline_cases.py): the repository's own model, or tiny random ones made from configs.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "components/random_checkpoint.h"

namespace vivace {

namespace fs = std::filesystem;

inline void override_fields(const fs::path& file, const nlohmann::json& fields) {
  nlohmann::json config = read_json(file);
  config.update(fields);
  std::ofstream(file) << json_text(config);
}

// The checkpoint of a case: the repository's own, or made in `folder`, sharded for every other seed so that both ways of storing are read.
inline fs::path checkpoint(const nlohmann::json& item, const fs::path& folder) {
  const std::string name = item.at("checkpoint");
  if (name.starts_with("assets/")) return fs::path(VIVACE_SOURCE_DIR) / name;
  const fs::path configs = folder / "configs", model = folder / "model";
  fs::copy(fs::path(VIVACE_TEST_DATA) / name, configs, fs::copy_options::recursive);
  if (item.contains("overrides"))
    for (const auto& [file, fields] : item.at("overrides").items()) override_fields(configs / file, fields);
  for (const char* tokenizer : {"tokenizer", "tokenizer_2"})
    if (read_json(configs / "model_index.json").contains(tokenizer))
      fs::copy(fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl" / tokenizer, configs / tokenizer);
  const auto seed = item.at("weights_seed").get<uint32_t>();
  make_random_checkpoint(configs, model, {.seed = seed, .max_shard_bytes = seed % 2 ? 100000 : 0});
  return model;
}

}  // namespace vivace
