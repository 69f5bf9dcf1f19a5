// A file of tensors, whichever of the formats it is in: safetensors (safetensors.h) or GGUF (gguf.h), told apart by how it begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "tensor/block_format.h"
#include "vivace/tensor.h"

namespace vivace {

// A tensor in a file: row-major, aligned for its dtype, valid as long as the TensorFile or WeightMap it came from.
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

// What stands in a file before its tensors' bytes.
struct TensorFileHeader {
  struct Entry {
    std::string name;
    DType dtype = DType::float32;
    Shape shape;
    uint64_t begin = 0, end = 0;  // within the data
    std::optional<BlockFormat> format{};
  };
  std::vector<Entry> entries;  // by begin
  Metadata metadata;           // strings and numbers, as text
  size_t data_offset = 0;      // of the data in the file
};

class TensorFile {
 public:
  // Maps the file; nothing but the header is read. Throws UserError that names the file and what is wrong in it.
  static std::shared_ptr<const TensorFile> open(const std::filesystem::path& path);
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<WeightInfo>& tensors() const { return tensors_; }  // in the order of the file
  const Metadata& metadata() const { return metadata_; }
  const FileMap& map() const { return *map_; }

 private:
  explicit TensorFile(const std::filesystem::path& path);

  std::string path_;
  std::shared_ptr<const FileMap> map_;
  std::vector<WeightInfo> tensors_;
  Metadata metadata_;
  std::vector<Tensor> aligned_copies_;  // of tensors whose place in the file does not suit their dtype; official files have none
};

}  // namespace vivace
