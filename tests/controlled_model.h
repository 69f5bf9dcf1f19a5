// A tiny random SDXL with a ControlNet of it.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "components/random_checkpoint.h"
#include "temp_folder.h"
#include "vivace/image.h"

namespace vivace {

// The checkpoint's folder in `folder`, which it is made in. The net lies in its "controlnet".
inline std::filesystem::path controlled_model(const TempFolder& folder) {
  namespace fs = std::filesystem;
  const fs::path source = VIVACE_SOURCE_DIR, configs = folder / "configs", model = folder / "model";
  fs::copy(source / "tests/pipelines/data/configs/sdxl_two_levels", configs, fs::copy_options::recursive);
  for (const char* part : {"tokenizer", "tokenizer_2"}) fs::copy(source / "assets/emoji-xl" / part, configs / part);
  const auto read = [&](const char* file) { return read_json(configs / file); };
  nlohmann::json index = read("model_index.json"), net = read("unet/config.json");
  index.update({{"_class_name", "StableDiffusionXLControlNetPipeline"}, {"controlnet", {"diffusers", "ControlNetModel"}}});
  net.update({{"_class_name", "ControlNetModel"}, {"conditioning_embedding_out_channels", {8, 16, 24}}});
  fs::create_directories(configs / "controlnet");
  std::ofstream(configs / "model_index.json") << json_text(index);
  std::ofstream(configs / "controlnet/config.json") << net;
  make_random_checkpoint(configs, model, {.seed = 0});
  return model;
}

// Red, green and blue values that differ from pixel to pixel.
inline Image test_picture(int height, int width) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < height * width * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 37 % 256));
  return Image::from_pixels(height, width, pixels);
}

}  // namespace vivace
