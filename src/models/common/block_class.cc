#include "models/common/block_class.h"

namespace vivace {

std::string block_class(std::string_view module) {
  struct Row {
    std::string_view part, name;
  };
  static constexpr Row kRows[] = {{"transformer_blocks", "BasicTransformerBlock"},
                                  {"attentions", "Transformer2DModel"},
                                  {"resnets", "ResnetBlock2D"},
                                  {"downsamplers", "Downsample2D"},
                                  {"upsamplers", "Upsample2D"},
                                  {"time_embedding", "TimestepEmbedding"},
                                  {"add_embedding", "TimestepEmbedding"},
                                  {"layers", "CLIPEncoderLayer"}};
  for (size_t end = module.size(); end != std::string_view::npos && end > 0;) {
    const size_t dot = module.rfind('.', end - 1);
    const std::string_view part = module.substr(dot == std::string_view::npos ? 0 : dot + 1, end - (dot == std::string_view::npos ? 0 : dot + 1));
    // The attention of an autoencoder stands alone.
    if (part == "attentions" && (module.starts_with("encoder.") || module.starts_with("decoder."))) return "Attention";
    for (const Row& row : kRows)
      if (part == row.part) return std::string(row.name);
    end = dot;
  }
  return "";
}

}  // namespace vivace
