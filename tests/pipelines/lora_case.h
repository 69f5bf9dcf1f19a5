// Adapters of golden cases (tools/golden/lora.py), whose tensors follow the rule of random weights, and a pipeline with them.
#pragma once

#include "../temp_folder.h"
#include "base/log.h"
#include "golden_call.h"
#include "models/common/random_weights.h"
#include "weights/safetensors.h"

namespace vivace {

inline const std::string kLoraData = kData + "/lora";

inline std::vector<golden::Case> lora_cases() {
  std::vector<golden::Case> result;
  for (const auto& item : golden::read_cases(kLoraData)) result.push_back(item);
  return result;
}

inline const golden::Case& lora_case(const std::string& name) {
  static const std::vector<golden::Case> all = lora_cases();
  return *std::ranges::find_if(all, [&](const golden::Case& c) { return c.at("name") == name; });
}

inline void write_lora(const nlohmann::json& lora, const std::filesystem::path& path) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, shape] : lora.at("tensors").items()) specs.push_back({name, DType::float32, shape.get<Shape>()});
  const size_t tensors = specs.size();
  for (const auto& [name, value] : lora.at("alphas").items()) specs.push_back({name, DType::float32, {}});
  Metadata metadata;
  if (lora.contains("metadata")) metadata = lora.at("metadata").get<Metadata>();
  write_safetensors(path, specs, metadata, [&](size_t i) {
    if (i < tensors) return random_weight(specs[i].name, specs[i].shape, lora.at("seed").get<uint32_t>());
    const float alpha = lora.at("alphas").at(specs[i].name).get<float>();
    return Tensor::from({}, std::span<const float>(&alpha, 1));
  });
}

// Loads the case's adapters, called adapter_0 and so on, with its weights.
inline void load_loras(DiffusionPipeline& pipe, const nlohmann::json& item, const TempFolder& folder) {
  std::vector<std::string> names;
  for (const auto& lora : item.at("loras")) {
    names.push_back(cat("adapter_", names.size()));
    const std::filesystem::path file = lora.contains("file") ? std::filesystem::path(VIVACE_SOURCE_DIR) / lora.at("file").get<std::string>()
                                                             : folder / (names.back() + ".safetensors");
    if (!lora.contains("file")) write_lora(lora, file);
    pipe.load_lora_weights(file, names.back());
  }
  pipe.set_adapters(names, item.at("adapter_weights").get<std::vector<double>>());
}

// A call of the case against Diffusers' latents.
inline void expect_latents(DiffusionPipeline& pipe, const nlohmann::json& item) {
  CallOptions call = call_options(item.at("call"));
  call.output_latent = true;
  const PipelineOutput out = pipe(prompts(item.at("call").at("prompt")), call);
  // The network's own rounding (as in tests/models), once a step, amplified by guidance; the sum of a weight rounds once more.
  const double guidance = item.at("pipeline") == "StableDiffusionXLPipeline" ? item.at("call").at("guidance_scale").get<double>() : 1;
  const auto steps = item.at("call").at("num_inference_steps").get<double>();
  EXPECT_LT(golden::relative_error(item.at("outputs").at("latents"), kLoraData, out.latents),
            5 * std::sqrt(10.0 * 1000) * 0x1p-24 * guidance * std::sqrt(steps));
}

}  // namespace vivace
