#include "weights/spellings.h"

#include "weights/names/tables.h"

namespace vivace {

std::span<const Spelling> spellings_of(std::string_view class_name) {
  struct Row {
    std::string_view class_name;
    std::span<const Spelling> (*spellings)();
  };
  static constexpr Row kRows[] = {
      {"UNet2DConditionModel", unet2d_condition_spellings},
      {"AutoencoderKL", autoencoder_kl_spellings},
      {"CLIPTextModel", clip_text_spellings},
      {"CLIPTextModelWithProjection", clip_text_with_projection_spellings},
      {"T5EncoderModel", t5_encoder_spellings},
      {"FluxTransformer2DModel", flux_transformer_2d_spellings},
  };
  for (const Row& row : kRows)
    if (row.class_name == class_name) return row.spellings();
  return {};
}

}  // namespace vivace
