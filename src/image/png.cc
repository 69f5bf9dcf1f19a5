#include "image/png.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>

#include "base/log.h"
#include "base/utf8.h"
#include "image/exif.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A picture should not take long to save. Matching runs of one byte only (Z_RLE) takes a tenth of the time of libpng's defaults; on
// pictures, whose rows seldom repeat, files are then about 5 % larger (a third, where areas of one colour abound).
constexpr int kCompressionLevel = 1;
constexpr int kCompressionStrategy = Z_RLE;
constexpr int kFilter = PNG_FILTER_UP;

// libpng reports errors by longjmp. Functions that call setjmp hold no object with a destructor: whatever must be freed lives in these two.
struct Encoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<uint8_t> out;
  char error[160] = "";
  ~Encoder() { png_destroy_write_struct(&png, &info); }
};

struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> file;
  size_t position = 0;
  bool keeps_alpha = false;  // as a fourth channel, where there is one
  Decoded picture;
  std::vector<png_bytep> rows;
  char error[160] = "";
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

template <class Coder>
[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* coder = static_cast<Coder*>(png_get_error_ptr(png));
  std::strncpy(coder->error, message, sizeof(coder->error) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_write(png_structp png, png_bytep data, size_t size) {
  auto* encoder = static_cast<Encoder*>(png_get_io_ptr(png));
  bool failed = false;
  try {
    encoder->out.insert(encoder->out.end(), data, data + size);
  } catch (const std::bad_alloc&) {
    failed = true;  // no exception may cross libpng's frames, no longjmp may leave a handler
  }
  if (failed) png_error(png, "out of memory");
}

void on_read(png_structp png, png_bytep data, size_t size) {
  auto* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
  if (size > decoder->file.size() - decoder->position) png_error(png, "the file ends too early");
  std::memcpy(data, decoder->file.data() + decoder->position, size);
  decoder->position += size;
}

bool write_all(Encoder& encoder, uint32_t height, uint32_t width, const uint8_t* rgb, const std::vector<png_text>& text) {
  png_structp png = encoder.png;
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_write_fn(png, &encoder, on_write, nullptr);
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_compression_level(png, kCompressionLevel);
  png_set_compression_strategy(png, kCompressionStrategy);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, kFilter);
  png_set_IHDR(png, encoder.info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!text.empty()) png_set_text(png, encoder.info, text.data(), static_cast<int>(text.size()));
  png_write_info(png, encoder.info);
  for (uint32_t y = 0; y < height; ++y) png_write_row(png, rgb + size_t{y} * width * 3);
  png_write_end(png, encoder.info);
  return true;
}

// Chunks that nobody reads here. libpng would unpack and keep up to a thousand of them, 8 MB each, out of a file of a few.
constexpr png_byte kPassedOver[] = "tEXt\0zTXt\0iTXt\0iCCP\0sPLT";

bool read_header(Decoder& decoder) {
  png_structp png = decoder.png;
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_read_fn(png, &decoder, on_read);
  png_set_user_limits(png, kMaxSide, kMaxSide);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kPassedOver, static_cast<int>(sizeof(kPassedOver) / 5));
  png_read_info(png, decoder.info);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_gray_to_rgb(png);
  if (!decoder.keeps_alpha) png_set_strip_alpha(png);
  png_set_strip_16(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, decoder.info);
  return true;
}

bool read_rows(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_read_image(decoder.png, decoder.rows.data());
  return true;
}

// Throws UserError that starts with `name` for a header that is damaged or claims too much.
void open_png(Decoder& decoder, std::span<const std::byte> file, const std::string& name, int64_t most_pixels) {
  decoder.file = file;
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error<Decoder>, on_warning);
  decoder.info = decoder.png ? png_create_info_struct(decoder.png) : nullptr;
  if (!decoder.info) throw UserError(cat(name, ": out of memory while reading a PNG"));
  if (!read_header(decoder)) throw UserError(cat(name, ": damaged PNG: ", decoder.error));
  Decoded& picture = decoder.picture;
  picture.height = png_get_image_height(decoder.png, decoder.info);
  picture.width = png_get_image_width(decoder.png, decoder.info);
  check_pixels(picture.height, picture.width, name, most_pixels);
  png_uint_32 exif_bytes = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(decoder.png, decoder.info, &exif_bytes, &exif) && exif)
    picture.orientation = std::max(exif_orientation(std::as_bytes(std::span(exif, exif_bytes))), 1);
}

void read_png(Decoder& decoder, size_t channels, const std::string& name) {
  Decoded& picture = decoder.picture;
  const size_t row_bytes = png_get_rowbytes(decoder.png, decoder.info);
  if (row_bytes != picture.width * channels)
    throw InternalError(cat(name, ": libpng gave rows of ", row_bytes, " bytes for ", picture.width, " pixels"));
  // Not filled: a header may claim far more rows than the file has.
  picture.rgb = std::make_unique_for_overwrite<uint8_t[]>(picture.height * row_bytes);
  for (size_t y = 0; y < picture.height; ++y) decoder.rows.push_back(picture.rgb.get() + y * row_bytes);
  if (!read_rows(decoder)) throw UserError(cat(name, ": damaged PNG: ", decoder.error));
}

bool is_ascii(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

void check_keyword(const std::string& keyword) {
  const bool printable = std::ranges::all_of(keyword, [](char c) { return c >= ' ' && c <= '~'; });
  if (keyword.empty() || keyword.size() > 79 || !printable || keyword.front() == ' ' || keyword.back() == ' ' || keyword.find("  ") != keyword.npos)
    throw UsageError(cat("PNG text keyword \"", keyword, "\": expected 1 to 79 printable ASCII characters, single spaces only inside"));
}

}  // namespace

std::vector<uint8_t> encode_png(int height, int width, const uint8_t* rgb, const TextChunks& text) {
  Encoder encoder;
  encoder.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &encoder, on_error<Encoder>, on_warning);
  encoder.info = encoder.png ? png_create_info_struct(encoder.png) : nullptr;
  if (!encoder.info) throw UserError("out of memory while writing a PNG");
  TextChunks values = text;
  std::vector<png_text> chunks;
  for (auto& [keyword, value] : values) {
    check_keyword(keyword);
    value = to_valid_utf8(value);  // as the tokenizer reads it; iTXt is UTF-8
    std::erase(value, '\0');       // the one character PNG text cannot hold
    png_text chunk{};
    chunk.compression = is_ascii(value) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    chunk.key = keyword.data();
    chunk.text = value.data();
    (is_ascii(value) ? chunk.text_length : chunk.itxt_length) = value.size();
    chunks.push_back(chunk);
  }
  if (!write_all(encoder, static_cast<uint32_t>(height), static_cast<uint32_t>(width), rgb, chunks))
    throw UserError(cat("a PNG of ", width, " x ", height, " cannot be written: ", encoder.error));
  return std::move(encoder.out);
}

bool is_png(std::span<const std::byte> file) { return file.size() >= 8 && png_sig_cmp(reinterpret_cast<png_const_bytep>(file.data()), 0, 8) == 0; }

Decoded decode_png(std::span<const std::byte> file, const std::string& name, int64_t most_pixels) {
  Decoder decoder;
  open_png(decoder, file, name, most_pixels);
  read_png(decoder, 3, name);
  return std::move(decoder.picture);
}

std::optional<Decoded> decode_png_transparency(std::span<const std::byte> file, const std::string& name, int64_t most_pixels) {
  Decoder decoder;
  decoder.keeps_alpha = true;
  open_png(decoder, file, name, most_pixels);
  if (png_get_channels(decoder.png, decoder.info) != 4) return std::nullopt;
  read_png(decoder, 4, name);
  bool any = false;
  uint8_t* pixels = decoder.picture.rgb.get();
  for (size_t i = 0; i < decoder.picture.height * decoder.picture.width; ++i) {
    const auto clear = static_cast<uint8_t>(255 - pixels[4 * i + 3]);
    any |= clear > 0;
    std::fill_n(pixels + 3 * i, 3, clear);  // over what was looked at before
  }
  return any ? std::optional(std::move(decoder.picture)) : std::nullopt;
}

}  // namespace vivace
