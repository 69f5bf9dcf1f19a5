// A golden case of a whole call: its arguments, by their names in Diffusers, and its pictures.
#pragma once

#include "../models/golden.h"
#include "vivace/vivace.h"

namespace vivace {

inline const std::string kData = VIVACE_TEST_DATA;

inline std::vector<golden::Case> cases() {
  std::vector<golden::Case> result;
  for (const auto& item : golden::read_cases(kData)) result.push_back(item);
  return result;
}

inline Prompts prompts(const nlohmann::json& value) {
  return value.is_string() ? Prompts(value.get<std::string>()) : Prompts(value.get<std::vector<std::string>>());
}
inline Size size(const nlohmann::json& value) { return {value.at(0), value.at(1)}; }

// A file of the folder, several, or latents.
inline ImageInput image_input(const nlohmann::json& value) {
  if (value.is_object()) return golden::make_input(value);
  std::vector<Image> images;
  for (const std::string& file : prompts(value)) images.push_back(Image::load(kData + "/" + file));
  return images;
}

inline std::vector<double> numbers(const nlohmann::json& value) {
  return value.is_array() ? value.get<std::vector<double>>() : std::vector{value.get<double>()};
}

inline CallOptions call_options(const nlohmann::json& call) {
  CallOptions o;
  for (const auto& [key, value] : call.items()) {
    if (key == "prompt_2")
      o.prompt_2 = prompts(value);
    else if (key == "negative_prompt")
      o.negative_prompt = prompts(value);
    else if (key == "negative_prompt_2")
      o.negative_prompt_2 = prompts(value);
    else if (key == "height")
      o.height = value;
    else if (key == "width")
      o.width = value;
    else if (key == "num_inference_steps")
      o.num_inference_steps = value.get<int>();
    else if (key == "guidance_scale")
      o.guidance_scale = value.get<double>();
    else if (key == "guidance_rescale")
      o.guidance_rescale = value;
    else if (key == "denoising_end")
      o.denoising_end = value.get<double>();
    else if (key == "timesteps")
      o.timesteps = value.get<std::vector<double>>();
    else if (key == "sigmas")
      o.sigmas = value.get<std::vector<double>>();
    else if (key == "original_inference_steps")
      o.original_inference_steps = value.get<int>();
    else if (key == "eta")
      o.eta = value;
    else if (key == "clip_skip")
      o.clip_skip = value.get<int>();
    else if (key == "num_images_per_prompt")
      o.num_images_per_prompt = value;
    else if (key == "original_size")
      o.original_size = size(value);
    else if (key == "target_size")
      o.target_size = size(value);
    else if (key == "negative_original_size")
      o.negative_original_size = size(value);
    else if (key == "negative_target_size")
      o.negative_target_size = size(value);
    else if (key == "crops_coords_top_left")
      o.crops_coords_top_left = size(value);
    else if (key == "negative_crops_coords_top_left")
      o.negative_crops_coords_top_left = size(value);
    else if (key == "true_cfg_scale")
      o.true_cfg_scale = value.get<double>();
    else if (key == "max_sequence_length")
      o.max_sequence_length = value.get<int>();
    else if (key == "num_frames")
      o.num_frames = value.get<int>();
    else if (key == "use_dynamic_cfg")
      o.use_dynamic_cfg = value;
    else if (key == "strength")
      o.strength = value.get<double>();
    else if (key == "max_area")
      o.max_area = value.get<int64_t>();
    else if (key == "_auto_resize")
      o.auto_resize = value;
    else if (key == "image")
      o.image = image_input(value);
    else if (key == "video")
      for (const std::string& name : prompts(value)) o.video.push_back(Video::load(kData + "/" + name));
    else if (key == "mask_image")
      o.mask_image = image_input(value);
    else if (key == "masked_image_latents")
      o.masked_image_latents = golden::make_input(value);
    else if (key == "control_image")
      o.control_image = {image_input(value)};
    else if (key == "guess_mode")
      o.guess_mode = value;
    else if (key == "padding_mask_crop")
      o.padding_mask_crop = value.get<int>();
    else if (key == "controlnet_conditioning_scale")
      o.controlnet_conditioning_scale = numbers(value);
    else if (key == "control_guidance_start")
      o.control_guidance_start = numbers(value);
    else if (key == "control_guidance_end")
      o.control_guidance_end = numbers(value);
    else if (key == "denoising_start")
      o.denoising_start = value.get<double>();
    else if (key == "aesthetic_score")
      o.aesthetic_score = value.get<double>();
    else if (key == "negative_aesthetic_score")
      o.negative_aesthetic_score = value.get<double>();
    else if (key == "latents")
      o.latents = golden::make_input(value);
    else if (key == "prompt_embeds")
      o.prompt_embeds = golden::make_input(value);
    else if (key == "negative_prompt_embeds")
      o.negative_prompt_embeds = golden::make_input(value);
    else if (key == "pooled_prompt_embeds")
      o.pooled_prompt_embeds = golden::make_input(value);
    else if (key == "output_type")
      o.output_latent = value == "latent";
    else if (key == "generator" && value.contains("seed"))
      o.seed = value.at("seed").get<uint64_t>();
    else if (key == "generator")
      o.seeds = value.at("seeds").get<std::vector<uint64_t>>();
    else if (key != "prompt")
      ADD_FAILURE() << "the test does not know the argument " << key;
  }
  return o;
}

inline Tensor stack(const std::vector<Image>& images) {
  std::vector<Tensor> rows;
  for (const Image& image : images) rows.push_back(image.tensor().reshape({1, image.height(), image.width(), 3}));
  return concat_rows(rows);
}

}  // namespace vivace
