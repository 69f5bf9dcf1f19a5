#include "vivace/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file_kind.h"
#include "base/file_map.h"
#include "base/files.h"
#include "base/log.h"
#include "image/contact_sheet.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "tensor/npy.h"
#include "vivace/error.h"

namespace vivace {
namespace {

enum class Format { png, npy };

Format format_of(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (extension == ".png") return Format::png;
  if (extension == ".npy") return Format::npy;
  throw UsageError(cat("cannot write ", path.string(), ": ", extension.empty() ? "it has no extension" : cat("unknown extension \"", extension, "\""),
                       ": expected .png or .npy"));
}

}  // namespace

void check_pixels(uint64_t height, uint64_t width, const std::string& name, int64_t most_pixels) {
  const int64_t most = std::clamp<int64_t>(most_pixels, 0, kMaxPixels);
  if (height > kMaxSide || width > kMaxSide || height * width > static_cast<uint64_t>(most))
    throw UserError(cat(name, ": the picture has ", width, " x ", height, " pixels: at most ", most, " are supported"));
}

Image Image::from_tensor(Tensor values) {
  if (!values.defined() || values.dtype() != float32 || values.rank() != 3 || values.dim(2) != 3 || values.numel() == 0)
    throw UsageError(cat("an image needs a float32 tensor [height, width, 3], got ", dtype_name(values.dtype()), " ", to_string(values.shape())));
  Image image;
  image.values_ = std::move(values);
  return image;
}

Image Image::from_pixels(int height, int width, std::span<const uint8_t> rgb) {
  if (height < 1 || width < 1 || rgb.size() != static_cast<size_t>(height) * static_cast<size_t>(width) * 3)
    throw UsageError(cat("an image of ", width, " x ", height, " needs height * width * 3 bytes, got ", rgb.size()));
  Tensor values({height, width, 3}, float32);
  std::ranges::transform(rgb, values.as<float>(), [](uint8_t v) { return static_cast<float>(v) / 255.f; });
  return from_tensor(std::move(values));
}

Image Image::load(const std::filesystem::path& path) { return decode(FileMap::open(path)->bytes(), path.string()); }

Image Image::decode(std::span<const std::byte> file, const std::string& name, int64_t most_pixels) {
  if (!is_png(file) && !is_jpeg(file))
    throw UserError(
        cat(name, ": not a PNG or JPEG picture", file_kind_note({reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 64)})));
  const Decoded picture = upright(is_png(file) ? decode_png(file, name, most_pixels) : decode_jpeg(file, name, most_pixels));
  return from_pixels(static_cast<int>(picture.height), static_cast<int>(picture.width), {picture.rgb.get(), picture.height * picture.width * 3});
}

std::vector<uint8_t> Image::pixels() const {
  std::vector<uint8_t> pixels(static_cast<size_t>(height()) * static_cast<size_t>(width()) * 3);
  const float* values = values_.as<float>();
  for (size_t i = 0; i < pixels.size(); ++i) {
    const float value = values[i] > 0.f ? std::min(values[i], 1.f) : 0.f;  // NaN is not > 0
    pixels[i] = static_cast<uint8_t>(std::lrint(value * 255.f));
  }
  return pixels;
}

std::vector<uint8_t> Image::png(const TextChunks& text) const {
  if (empty()) throw UsageError("an empty image cannot be saved");
  return encode_png(height(), width(), pixels().data(), text);
}

void Image::save(const std::filesystem::path& path, const TextChunks& text) const {
  if (empty()) throw UsageError("an empty image cannot be saved");
  if (format_of(path) == Format::png) return write_file(path, std::as_bytes(std::span<const uint8_t>(png(text))));
  save_npy(path, values_);
}

void Image::check_save_path(const std::filesystem::path& path) {
  format_of(path);
  check_writable(path);
}

SheetSize sheet_size(int64_t count, int columns, int padding, int64_t cell_height, int64_t cell_width) {
  constexpr int64_t kMostPixels = int64_t{1} << 30;  // float32 RGB of 12 GB
  if (columns < 1 || padding < 0)
    throw UsageError(cat("contact sheet: expected at least 1 column and padding of 0 or more, got ", columns, " and ", padding));
  const int64_t across = std::min<int64_t>(columns, count), down = (count + across - 1) / across;
  const int64_t height = padding + down * (cell_height + padding), width = padding + across * (cell_width + padding);
  if (height > kMostPixels / width)
    throw UsageError(cat("a contact sheet of ", count, " pictures would have ", width, " x ", height, " pixels: at most ", kMostPixels,
                         " are supported: expected fewer pictures, or smaller ones"));
  return {height, width, across};
}

Image contact_sheet(std::span<const Image> images, int columns, int padding, float background) {
  if (images.empty()) throw UsageError("a contact sheet needs at least one image");
  int64_t cell_height = 0, cell_width = 0;
  for (const Image& image : images) {
    if (image.empty()) throw UsageError("contact sheet: an image is empty");
    cell_height = std::max<int64_t>(cell_height, image.height());
    cell_width = std::max<int64_t>(cell_width, image.width());
  }
  const auto count = static_cast<int64_t>(images.size());
  const auto [height, width, across] = sheet_size(count, columns, padding, cell_height, cell_width);
  Tensor sheet = Tensor::full({height, width, 3}, background);
  for (int64_t i = 0; i < count; ++i) {
    const Image& image = images[static_cast<size_t>(i)];
    const int64_t top = padding + i / across * (cell_height + padding), left = padding + i % across * (cell_width + padding);
    const auto row = static_cast<size_t>(image.width()) * 3;
    for (int64_t y = 0; y < image.height(); ++y)
      std::memcpy(sheet.as<float>() + ((top + y) * width + left) * 3, image.tensor().as<float>() + static_cast<size_t>(y) * row, row * sizeof(float));
  }
  return Image::from_tensor(std::move(sheet));
}

}  // namespace vivace
