#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"
#include "weights/safetensors_dtype.h"

namespace vivace {
namespace {

size_t rank_of(DType dtype) {
  const auto it = std::ranges::find(kSafetensorsDTypes, dtype, &SafetensorsDType::dtype);
  if (it == kSafetensorsDTypes.end()) throw InternalError(cat("safetensors has no name for ", dtype_name(dtype)));
  return static_cast<size_t>(it - kSafetensorsDTypes.begin());
}

size_t bytes_of(const TensorSpec& spec) { return static_cast<size_t>(numel(spec.shape)) * dtype_size(spec.dtype); }

std::string quoted(const std::string& text) { return json_text(nlohmann::json(text)); }

// The header as serde_json prints it, padded so that the data begin at a multiple of 8.
std::string header_text(const std::vector<TensorSpec>& specs, const std::vector<size_t>& order, const Metadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) text += cat(text.back() == '{' ? "" : ",", quoted(key), ":", quoted(value));
    text += "}";
  }
  size_t offset = 0;
  for (size_t i : order) {
    const TensorSpec& spec = specs[i];
    text += cat(text.size() == 1 ? "" : ",", quoted(spec.name), ":{\"dtype\":\"", kSafetensorsDTypes[rank_of(spec.dtype)].name, "\",\"shape\":[");
    for (size_t d = 0; d < spec.shape.size(); ++d) text += cat(d ? "," : "", spec.shape[d]);
    text += cat("],\"data_offsets\":[", offset, ",", offset + bytes_of(spec), "]}");
    offset += bytes_of(spec);
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorSpec>& specs, const Metadata& metadata,
                       const std::function<Tensor(size_t)>& make) {
  std::vector<size_t> order(specs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const size_t rank_a = rank_of(specs[a].dtype), rank_b = rank_of(specs[b].dtype);
    return rank_a != rank_b ? rank_a > rank_b : specs[a].name < specs[b].name;
  });
  const std::string header = header_text(specs, order, metadata);
  const uint64_t length = header.size();
  uint64_t total = sizeof(length) + length;
  for (const TensorSpec& spec : specs) total += bytes_of(spec);

  FileWriter file(path);
  file.reserve(total);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (size_t i : order) {
    const Tensor tensor = make(i);
    if (tensor.dtype() != specs[i].dtype || tensor.shape() != specs[i].shape)
      throw InternalError(cat("tensor \"", specs[i].name, "\" to be written is ", dtype_name(tensor.dtype()), " ", to_string(tensor.shape()),
                              ", not ", dtype_name(specs[i].dtype), " ", to_string(specs[i].shape)));
    file.write(std::span(static_cast<const std::byte*>(tensor.data()), tensor.bytes()));
  }
  file.commit();
}

void remove_weights_but(const std::filesystem::path& folder, const std::string& stem, const std::set<std::string>& kept) {
  std::vector<std::filesystem::path> others;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool called_so = name.starts_with(stem + '.') || name.starts_with(stem + '-');
    if (called_so && name.find(".safetensors") != std::string::npos && !kept.contains(name)) others.push_back(entry.path());
  }
  for (const std::filesystem::path& other : others) std::filesystem::remove(other);
}

}  // namespace vivace
