#include "image/jpeg.h"

#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>  // jpeglib.h does not include it
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "image/exif.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A progressive file of a few kilobytes can ask for thousands of passes over a huge picture; what programs write has about ten.
constexpr int kMaxScans = 100;
constexpr int kMarker1 = JPEG_APP0 + 1;  // EXIF and XMP
constexpr unsigned kMarkerBytes = 0xffff;

// libjpeg reports errors by calling error_exit, which must not return. Functions that call setjmp hold no object with a destructor: whatever must be
// freed lives here.
struct Decoder {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  jmp_buf back{};
  char error[JMSG_LENGTH_MAX] = "";
  std::unique_ptr<uint8_t[]> row;  // of CMYK
  Decoded picture;
  ~Decoder() { jpeg_destroy_decompress(&jpeg); }
};

Decoder& decoder_of(j_common_ptr jpeg) { return *static_cast<Decoder*>(jpeg->client_data); }

[[noreturn]] void fail(Decoder& decoder, const char* message) {
  std::strncpy(decoder.error, message, sizeof(decoder.error) - 1);
  std::longjmp(decoder.back, 1);
}

[[noreturn]] void on_error(j_common_ptr jpeg) {
  Decoder& decoder = decoder_of(jpeg);
  jpeg->err->format_message(jpeg, decoder.error);
  std::longjmp(decoder.back, 1);
}

void on_message(j_common_ptr, int) {}  // damage that can be looked over

void do_nothing(j_decompress_ptr) {}
boolean on_end(j_decompress_ptr jpeg) { fail(decoder_of(reinterpret_cast<j_common_ptr>(jpeg)), "the file ends too early"); }
void on_skip(j_decompress_ptr jpeg, long bytes) {
  if (bytes <= 0) return;
  if (static_cast<size_t>(bytes) > jpeg->src->bytes_in_buffer) on_end(jpeg);
  jpeg->src->next_input_byte += bytes;
  jpeg->src->bytes_in_buffer -= static_cast<size_t>(bytes);
}

void on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) fail(decoder_of(jpeg), "it has more than 100 scans");
}

bool read_header(Decoder& d, std::span<const std::byte> file) {
  if (setjmp(d.back)) return false;
  d.jpeg.err = jpeg_std_error(&d.errors);
  d.errors.error_exit = on_error;
  d.errors.emit_message = on_message;
  d.jpeg.client_data = &d;
  jpeg_create_decompress(&d.jpeg);
  d.source = {.next_input_byte = reinterpret_cast<const JOCTET*>(file.data()),
              .bytes_in_buffer = file.size(),
              .init_source = do_nothing,
              .fill_input_buffer = on_end,
              .skip_input_data = on_skip,
              .resync_to_restart = jpeg_resync_to_restart,
              .term_source = do_nothing};
  d.jpeg.src = &d.source;
  d.progress.progress_monitor = on_progress;
  d.jpeg.progress = &d.progress;
  jpeg_save_markers(&d.jpeg, kMarker1, kMarkerBytes);
  jpeg_read_header(&d.jpeg, TRUE);
  return true;
}

// Pillow's conversion. Adobe's programs, which such pictures come from, store inks inverted.
void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; ++i, cmyk += 4)
    for (size_t c = 0; c < 3; ++c) {
      const unsigned white = cmyk[3], ink = 255u - cmyk[c], product = ink * white + 128;
      *rgb++ = static_cast<uint8_t>(white - (((product >> 8) + product) >> 8));
    }
}

bool read_rows(Decoder& d) {
  if (setjmp(d.back)) return false;
  jpeg_start_decompress(&d.jpeg);
  while (d.jpeg.output_scanline < d.jpeg.output_height) {
    uint8_t* to = d.picture.rgb.get() + size_t{d.jpeg.output_scanline} * d.picture.width * 3;
    JSAMPROW row = d.row ? d.row.get() : to;
    jpeg_read_scanlines(&d.jpeg, &row, 1);
    if (d.row) cmyk_to_rgb(row, to, d.picture.width);
  }
  return true;
}

int orientation_of(const jpeg_decompress_struct& jpeg) {
  constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  int xmp = 0;
  for (const jpeg_marker_struct* m = jpeg.marker_list; m; m = m->next) {
    const std::string_view text(reinterpret_cast<const char*>(m->data), m->data_length);
    if (text.starts_with(kExif))
      if (const int exif = exif_orientation(std::as_bytes(std::span(text.substr(kExif.size()))))) return exif;
    if (text.starts_with(kXmp)) xmp = xmp_orientation(text);
  }
  return xmp ? xmp : 1;
}

}  // namespace

bool is_jpeg(std::span<const std::byte> file) { return file.size() >= 3 && std::memcmp(file.data(), "\xff\xd8\xff", 3) == 0; }

Decoded decode_jpeg(std::span<const std::byte> file, const std::string& name, int64_t most_pixels) {
  Decoder d;
  if (!read_header(d, file)) throw UserError(cat(name, ": damaged JPEG: ", d.error));
  check_pixels(d.jpeg.image_height, d.jpeg.image_width, name, most_pixels);
  d.picture.height = d.jpeg.image_height;
  d.picture.width = d.jpeg.image_width;
  d.picture.orientation = orientation_of(d.jpeg);
  const bool cmyk = d.jpeg.jpeg_color_space == JCS_CMYK || d.jpeg.jpeg_color_space == JCS_YCCK;
  d.jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  // Not filled: a header may claim far more rows than the file has.
  d.picture.rgb = std::make_unique_for_overwrite<uint8_t[]>(d.picture.height * d.picture.width * 3);
  if (cmyk) d.row = std::make_unique<uint8_t[]>(d.picture.width * 4);
  if (!read_rows(d)) throw UserError(cat(name, ": damaged JPEG: ", d.error));
  return std::move(d.picture);
}

}  // namespace vivace
