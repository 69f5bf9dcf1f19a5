// A picture: float32 RGB in 0..1. PNG, JPEG and NumPy files, contact sheets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vivace/api.h"
#include "vivace/tensor.h"

namespace vivace VIVACE_API {

// Keyword and text of a PNG text chunk, UTF-8. Keywords have 1 to 79 characters.
using TextChunks = std::vector<std::pair<std::string, std::string>>;

// Copies share the values.
class Image {
 public:
  Image() = default;
  // Takes float32 [height, width, 3]; shares its storage. Throws UsageError for any other tensor.
  static Image from_tensor(Tensor values);
  // From 8-bit RGB, height * width * 3 bytes.
  static Image from_pixels(int height, int width, std::span<const uint8_t> rgb);
  // Reads a PNG or a JPEG, whichever the content is, as Diffusers' load_image does: upright (EXIF), 8-bit RGB. Grey, palettes and CMYK become RGB,
  // alpha is dropped, and of 16 bits the upper 8 are kept (of grey too, which Pillow clips to white). Up to 2^28 pixels.
  // Throws UserError that names the file.
  static Image load(const std::filesystem::path& path);
  // The same of a file in memory, called `name` in messages. One of more than `most_pixels`, up to 2^28, is refused before its pixels are read.
  static Image decode(std::span<const std::byte> file, const std::string& name, int64_t most_pixels = int64_t{1} << 28);

  bool empty() const { return !values_.defined(); }
  int height() const { return empty() ? 0 : static_cast<int>(values_.dim(0)); }
  int width() const { return empty() ? 0 : static_cast<int>(values_.dim(1)); }
  int channels() const { return 3; }
  // float32 [height, width, 3].
  const Tensor& tensor() const { return values_; }
  // Diffusers' numpy_to_pil: round(x * 255), halves to even, as 8-bit RGB rows from the top. Values outside 0..1 are clamped, NaN is 0.
  std::vector<uint8_t> pixels() const;
  // As Pillow 13's Image.resize((width, height), LANCZOS) of the 8-bit picture, to the bit (Pillow before 13 rounds in another order where the height
  // shrinks most).
  Image resized(int height, int width) const;
  // As Pillow's GaussianBlur of the 8-bit picture, to the bit: what Diffusers' mask_processor.blur(mask, radius) does.
  Image blurred(double radius) const;

  // By the extension: .png (8-bit RGB with the text chunks) or .npy (float32 [height, width, 3]; no text). The file appears whole or not
  // at all. Throws UsageError for another extension, UserError when it cannot be written.
  void save(const std::filesystem::path& path, const TextChunks& text = {}) const;
  // The bytes save() would write to a .png.
  std::vector<uint8_t> png(const TextChunks& text = {}) const;
  // Throws what save() to this path would throw, as far as that can be known before there is a picture.
  static void check_save_path(const std::filesystem::path& path);

 private:
  Tensor values_;
};

// Pictures in rows of `columns`, each in a cell of the largest one's size, with `padding` pixels of `background` (0..1) around each cell. Throws
// UsageError for one of more than 2^30 pixels.
Image contact_sheet(std::span<const Image> images, int columns, int padding = 4, float background = 1.f);

}  // namespace VIVACE_API
