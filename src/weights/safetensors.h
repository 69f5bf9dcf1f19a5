// The safetensors format: 8 bytes of header length (little endian), a JSON header, then the tensors' bytes without a gap.
// Reading follows the rules of the official library: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "weights/tensor_file.h"

namespace vivace {

// Checks everything the format promises about the whole file's bytes: header length (at most 100 MB) and JSON, known dtypes, shapes
// without overflow, sizes that agree with the offsets, no overlap, no hole, nothing behind the last tensor, no name twice.
// The metadata are the strings under "__metadata__". Throws UserError that starts with `name`.
TensorFileHeader parse_safetensors(std::span<const std::byte> file, const std::string& name);

struct TensorSpec {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
};

// Writes a safetensors file, byte for byte as the official library would, holding one tensor at a time: `make(i)` returns the tensor
// for specs[i] with that dtype and shape, and is called once for each i, in the order of the file (widest dtype first, then by name).
// The file appears whole or not at all. Throws UserError when it cannot be written, InternalError when specs or tensors are wrong.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorSpec>& specs, const Metadata& metadata,
                       const std::function<Tensor(size_t)>& make);

// Removes what else a folder holds of the weights called `stem` (shards, variants, indices), which could be found in the place of the files `kept`.
void remove_weights_but(const std::filesystem::path& folder, const std::string& stem, const std::set<std::string>& kept);

}  // namespace vivace
