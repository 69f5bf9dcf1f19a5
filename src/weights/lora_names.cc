#include "weights/lora_names.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/log.h"
#include "weights/spellings.h"

namespace vivace {
namespace {

struct Prefixes {
  std::string_view part;
  // Before names with dots: the model's own, and those of the original code; before names with underscores.
  std::vector<std::string_view> own, original, underscored;
};
const std::array<Prefixes, 4>& prefixes() {
  static const std::array<Prefixes, 4> all{{{"unet", {"unet.", "", "base_model.model."}, {"diffusion_model.", ""}, {"lora_unet_", "lycoris_"}},
                                            {"transformer",
                                             {"transformer.", "", "base_model.model.", "diffusion_model."},
                                             {"diffusion_model.", "", "base_model.model.", "transformer."},
                                             {"lora_unet_", "lora_transformer_", "lycoris_"}},
                                            {"text_encoder", {"text_encoder.", "text_encoders.clip_l.transformer."}, {}, {"lora_te1_", "lora_te_"}},
                                            {"text_encoder_2", {"text_encoder_2.", "text_encoders.clip_g.transformer."}, {}, {"lora_te2_"}}}};
  return all;
}

std::string underscored(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

// x-flux keeps LoRAs in attention processors; of a single block without its MLP.
constexpr NameRule kXFlux[] = {
    {"transformer_blocks.{a}.attn.to_q", "double_blocks.{a}.processor.qkv_lora1", {}, {0, 1, 3}},
    {"transformer_blocks.{a}.attn.to_k", "double_blocks.{a}.processor.qkv_lora1", {}, {1, 2, 3}},
    {"transformer_blocks.{a}.attn.to_v", "double_blocks.{a}.processor.qkv_lora1", {}, {2, 3, 3}},
    {"transformer_blocks.{a}.attn.to_out.0", "double_blocks.{a}.processor.proj_lora1"},
    {"transformer_blocks.{a}.attn.add_q_proj", "double_blocks.{a}.processor.qkv_lora2", {}, {0, 1, 3}},
    {"transformer_blocks.{a}.attn.add_k_proj", "double_blocks.{a}.processor.qkv_lora2", {}, {1, 2, 3}},
    {"transformer_blocks.{a}.attn.add_v_proj", "double_blocks.{a}.processor.qkv_lora2", {}, {2, 3, 3}},
    {"transformer_blocks.{a}.attn.to_add_out", "double_blocks.{a}.processor.proj_lora2"},
    {"single_transformer_blocks.{a}.attn.to_q", "single_blocks.{a}.processor.qkv_lora", {}, {0, 1, 3}},
    {"single_transformer_blocks.{a}.attn.to_k", "single_blocks.{a}.processor.qkv_lora", {}, {1, 2, 3}},
    {"single_transformer_blocks.{a}.attn.to_v", "single_blocks.{a}.processor.qkv_lora", {}, {2, 3, 3}},
    {"single_transformer_blocks.{a}.proj_out", "single_blocks.{a}.processor.proj_lora"},
};

// What "attn1.to_q" was called while Diffusers' attention processors held LoRAs: "attn1.processor.to_q_lora", with to_out for to_out.0, and in text
// encoders "self_attn.to_q_lora" for self_attn.q_proj.
std::optional<std::string> processor_name(const std::string& module) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kRenamed{{{".to_q", ".processor.to_q_lora"},
                                                                                   {".to_k", ".processor.to_k_lora"},
                                                                                   {".to_v", ".processor.to_v_lora"},
                                                                                   {".to_out.0", ".processor.to_out_lora"},
                                                                                   {".self_attn.q_proj", ".self_attn.to_q_lora"},
                                                                                   {".self_attn.k_proj", ".self_attn.to_k_lora"},
                                                                                   {".self_attn.v_proj", ".self_attn.to_v_lora"},
                                                                                   {".self_attn.out_proj", ".self_attn.to_out_lora"}}};
  for (const auto& [ending, then] : kRenamed)
    if (module.ends_with(ending)) return module.substr(0, module.size() - ending.size()) + std::string(then);
  return std::nullopt;
}

}  // namespace

bool LoraSpelling::takes(std::string_view part) { return std::ranges::find(prefixes(), part, &Prefixes::part) != prefixes().end(); }

LoraSpelling::LoraSpelling(const AdapterTarget& target) : part_(target.part) {
  for (const Spelling& spelling : spellings_of(target.class_name))
    if (spelling.prefix.empty() && spelling.rules.size() > 1) original_ = spelling.rules;
  // Layers of a block of a UNet, with what follows them.
  int64_t layers = 0;
  while (target.weights.contains(cat("down_blocks.0.resnets.", layers, ".conv1.weight"))) ++layers;
  numbers_['L'] = layers + 1;
}

std::vector<FileName> LoraSpelling::of(const std::string& module) const {
  std::vector<FileName> result;
  const auto own = std::ranges::find(prefixes(), part_, &Prefixes::part);
  if (own == prefixes().end()) return result;
  const auto add = [&](const std::vector<std::string_view>& all, const std::string& name, const FileName& as = {}) {
    for (const std::string_view prefix : all) result.push_back({cat(prefix, name), as.rows, as.change});
  };
  std::vector<std::string> names{module};
  // Releases of transformers differ in whether a text encoder's names begin so.
  constexpr std::string_view kTextModel = "text_model.";
  if (module.starts_with(kTextModel)) names.push_back(module.substr(kTextModel.size()));
  for (const std::string& name : names) {
    add(own->own, name);
    if (const auto old = processor_name(name)) add(own->own, *old);
    add(own->underscored, underscored(name));
  }
  if (!own->original.empty()) {
    std::vector<FileName> original = file_names(original_, numbers_, module + ".weight");
    for (FileName& file : original) {
      file.name.resize(file.name.size() - std::string_view(".weight").size());
      add(own->original, file.name, file);
      add(own->underscored, underscored(file.name), file);
    }
    for (const FileName& file : file_names(kXFlux, {}, module)) add(own->original, file.name, file);
  }
  return result;
}

}  // namespace vivace
