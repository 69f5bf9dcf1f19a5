// The GGUF format, versions 2 and 3: ggml's files, of which ComfyUI-GGUF and llama.cpp write those of FLUX and T5.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "weights/tensor_file.h"

namespace vivace {

bool is_gguf(std::span<const std::byte> file);

// The tensors of a file's bytes: shapes slowest axis first, as everywhere else; those in blocks are uint8 with the bytes of a row as their last axis.
// Of the metadata strings and numbers, as text; lists are passed over, but for "comfy.gguf.orig_shape.<tensor>", which gives a plain tensor its
// shape. Checks all sizes and places, and that no two tensors overlap or have one name. Throws UserError that starts with `name`.
TensorFileHeader parse_gguf(std::span<const std::byte> file, const std::string& name);

}  // namespace vivace
