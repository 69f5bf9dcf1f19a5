// The safetensors format: 8 bytes of header length (little endian), a JSON header, then the tensors' bytes without a gap.
// Reading follows the rules of the official library: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "tensor/block_format.h"
#include "vivace/tensor.h"

namespace vivace {

// A tensor in a file: row-major, aligned for its dtype, valid as long as the SafetensorsFile or WeightMap it came from.
struct WeightInfo {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  const void* data = nullptr;
  size_t bytes = 0;
  std::string_view file;  // path of the file, for messages
  size_t index = 0;       // in the file's order
  // Of rows that are stored in blocks: the tensor is uint8 then, its last axis bytes.
  std::optional<BlockFormat> format{};
};

// The shape of what the tensor holds: its own, but for one that is stored in blocks.
Shape values_shape(const WeightInfo& tensor);

// How a pickle of weights becomes a file that can be read, for messages.
inline constexpr const char* kConvertPickle =
    "convert it (in Python: d = torch.load(file, weights_only=True); d = d.get(\"state_dict\", d); safetensors.torch.save_file({k: t.contiguous() "
    "for k, "
    "t in d.items() if isinstance(t, torch.Tensor)}, \"model.safetensors\"))";

using Metadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  struct Entry {
    std::string name;
    DType dtype = DType::float32;
    Shape shape;
    uint64_t begin = 0, end = 0;  // within the data
    std::optional<BlockFormat> format{};
  };
  std::vector<Entry> entries;  // by begin
  Metadata metadata;           // the strings under "__metadata__"
  size_t data_offset = 0;      // of the data in the file
};

// Checks everything the format promises about the whole file's bytes: header length (at most 100 MB) and JSON, known dtypes, shapes
// without overflow, sizes that agree with the offsets, no overlap, no hole, nothing behind the last tensor, no name twice.
// Throws UserError that starts with `name`.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name);

class SafetensorsFile {
 public:
  // Maps the file; nothing but the header is read. Throws UserError that names the file and what is wrong in it.
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path& path);
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<WeightInfo>& tensors() const { return tensors_; }  // in the order of the file
  const Metadata& metadata() const { return metadata_; }
  const FileMap& map() const { return *map_; }

 private:
  explicit SafetensorsFile(const std::filesystem::path& path);

  std::string path_;
  std::shared_ptr<const FileMap> map_;
  std::vector<WeightInfo> tensors_;
  Metadata metadata_;
  std::vector<Tensor> aligned_copies_;  // of tensors whose place in the file does not suit their dtype; official files have none
};

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

}  // namespace vivace
