#include "weights/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/log.h"
#include "vivace/error.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

// PyTorch's files, by how they begin: the ZIP archives of now and the bare pickles of old. The length of a safetensors header may look like either.
void refuse_pickle(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 9));
  if (text.size() == 9 && text[8] == '{') return;
  const bool pickle = text.size() >= 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
  if (!pickle && !text.starts_with("PK\x03\x04")) return;
  throw UserError(cat(name, ": a pickle, as PyTorch writes, is not opened, since reading one can run code that it holds: ", kConvertPickle));
}

}  // namespace

Shape values_shape(const WeightInfo& tensor) {
  Shape shape = tensor.shape;
  if (!tensor.format || shape.empty()) return shape;
  const BlockFormatInfo& block = block_format_info(*tensor.format);
  shape.back() = shape.back() / block.bytes * block.values;
  return shape;
}

std::shared_ptr<const TensorFile> TensorFile::open(const std::filesystem::path& path) {
  return std::shared_ptr<const TensorFile>(new TensorFile(path));
}

TensorFile::TensorFile(const std::filesystem::path& path) : path_(path.string()), map_(FileMap::open(path)) {
  refuse_pickle(map_->bytes(), path_);
  TensorFileHeader header = is_gguf(map_->bytes()) ? parse_gguf(map_->bytes(), path_) : parse_safetensors(map_->bytes(), path_);
  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.entries.size());
  for (auto& entry : header.entries) {
    const std::byte* data = map_->data() + header.data_offset + entry.begin;
    const size_t bytes = entry.end - entry.begin;
    if (reinterpret_cast<uintptr_t>(data) % dtype_size(entry.dtype) != 0) {
      Tensor copy(entry.shape, entry.dtype);
      std::memcpy(copy.data(), data, bytes);
      data = static_cast<const std::byte*>(copy.data());
      aligned_copies_.push_back(std::move(copy));
    }
    tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape), data, bytes, path_, tensors_.size(), entry.format});
  }
  if (!aligned_copies_.empty())
    info(path_, ": ", aligned_copies_.size(),
         " tensors are not aligned in the file and were copied; saving it again with the safetensors library avoids that");
}

}  // namespace vivace
