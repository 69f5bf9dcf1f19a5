// Checkpoints in one file, made of tiny ones in folders by what tools/golden/single_files.py says of their names.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "../read_gzip.h"
#include "../temp_folder.h"
#include "base/json.h"
#include "components/random_checkpoint.h"
#include "vivace/vivace.h"
#include "weights/safetensors.h"
#include "weights/weight_map.h"

namespace vivace {

namespace fs = std::filesystem;
inline const fs::path kRepository = VIVACE_SOURCE_DIR;

class TinyCheckpoint {
 public:
  static const nlohmann::json& golden() {
    static const nlohmann::json data = strict_json(read_gzip(kRepository / "tests/weights/data/single_files.json.gz"));
    return data;
  }

  // "sdxl_two_levels", "sdxl_three_levels", "sd1", "dev" or "schnell".
  explicit TinyCheckpoint(const std::string& name, DType dtype = float32) : rows_(golden().at("tiny").at(name)) {
    const bool flux = name == "dev" || name == "schnell";
    fs::copy(kRepository / "tests" / (flux ? "transformer_pipelines" : "pipelines") / "data/configs" / name, configs(), fs::copy_options::recursive);
    for (const char* tokenizer : {"tokenizer", "tokenizer_2"})
      if (name.starts_with("sdxl") || flux || tokenizer == std::string("tokenizer"))
        fs::copy(kRepository / "assets" / (flux ? "emoji-flux" : "emoji-xl") / tokenizer, configs() / tokenizer);
    make_random_checkpoint(configs(), model(), {.dtype = dtype});
    for (const auto& row : rows_) {
      const std::string part = row.at(3);
      if (!weights_.contains(part)) weights_.emplace(part, WeightMap::open(model() / part));
    }
  }

  fs::path configs() const { return folder_.path() / "configs"; }
  fs::path model() const { return folder_.path() / "model"; }
  fs::path operator/(const std::string& name) const { return folder_.path() / name; }

  // A file of these parts (empty: all) in their original names. `store` may store a tensor otherwise, and others beside it; `besides` are tensors
  // [1].
  using Add = std::function<void(const std::string&, Tensor)>;
  using Store = std::function<void(const std::string&, const Tensor&, const Add&)>;
  fs::path write(const std::string& name, const std::set<std::string>& parts = {}, const Store& store = {},
                 const std::vector<std::string>& besides = {}, const Metadata& metadata = {}) const {
    std::vector<TensorSpec> specs;
    std::vector<Tensor> tensors;
    const Add add = [&](const std::string& tensor_name, Tensor tensor) {
      specs.push_back({tensor_name, tensor.dtype(), tensor.shape()});
      tensors.push_back(std::move(tensor));
    };
    for (const auto& row : rows_) {
      if (!parts.empty() && !parts.contains(row.at(3))) continue;
      const Tensor tensor = made(row);
      if (store)
        store(row.at(0), tensor, add);
      else
        add(row.at(0), tensor);
    }
    for (const std::string& extra : besides) add(extra, Tensor::full({1}, 1));
    write_safetensors(*this / name, specs, metadata, [&](size_t i) { return tensors[i]; });
    return *this / name;
  }

 private:
  Tensor made(const nlohmann::json& row) const {
    const WeightMap& weights = weights_.at(row.at(3));
    std::vector<Tensor> parts;
    for (const std::string name : row.at(4)) parts.push_back(weights.tensor(name));
    const std::string how = row.at(2);
    const size_t size = dtype_size(parts[0].dtype());
    Tensor result(row.at(1).get<Shape>(), parts[0].dtype());
    auto* to = static_cast<char*>(result.data());
    if (how == "transpose") {
      const int64_t rows = parts[0].dim(0), columns = parts[0].dim(1);
      const auto* from = static_cast<const char*>(parts[0].data());
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          std::memcpy(to + static_cast<size_t>(c * rows + r) * size, from + static_cast<size_t>(r * columns + c) * size, size);
      return result;
    }
    for (const Tensor& part : parts) {
      const size_t half = how == "swap" ? part.bytes() / 2 : 0;
      const auto* from = static_cast<const char*>(part.data());
      std::memcpy(to, from + half, part.bytes() - half);
      std::memcpy(to + part.bytes() - half, from, half);
      to += part.bytes();
    }
    return result;
  }

  TempFolder folder_;
  const nlohmann::json& rows_;
  std::map<std::string, WeightMap> weights_;
};

// Of two denoising steps.
inline std::vector<float> picture(const DiffusionPipeline& pipe) {
  const PipelineOutput out = pipe("a red apple", {.num_inference_steps = 2, .seed = 7});
  const auto pixels = out.images[0].tensor().floats();
  return {pixels.begin(), pixels.end()};
}

}  // namespace vivace
