// The tables of names, a file a model. Facts: Diffusers' loaders/single_file_utils.py, the original programs, llama.cpp's gguf constants.
#pragma once

#include "weights/spellings.h"

namespace vivace {

std::span<const Spelling> unet2d_condition_spellings();
std::span<const Spelling> autoencoder_kl_spellings();
std::span<const Spelling> clip_text_spellings();
std::span<const Spelling> clip_text_with_projection_spellings();
std::span<const Spelling> t5_encoder_spellings();
std::span<const Spelling> flux_transformer_2d_spellings();

}  // namespace vivace
