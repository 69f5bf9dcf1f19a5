#include "image/png.h"

#include <gtest/gtest.h>
#include <png.h>
#include <sys/resource.h>
#include <zlib.h>

#include <cstring>
#include <map>

#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Writes a PNG of any kind; rows hold the samples as the file stores them (packed bits, big-endian 16 bits).
std::vector<uint8_t> write_png(int height, int width, int bits, int color, bool interlaced, std::vector<std::vector<uint8_t>> rows) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  std::vector<uint8_t> out;
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, size_t size) {
        auto* to = static_cast<std::vector<uint8_t>*>(png_get_io_ptr(p));
        to->insert(to->end(), data, data + size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), bits, color,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  const png_color palette[3] = {{255, 0, 10}, {1, 2, 3}, {40, 50, 60}};
  const png_byte alpha[3] = {0, 128, 255};
  if (color == PNG_COLOR_TYPE_PALETTE) {
    png_set_PLTE(png, info, palette, 3);
    png_set_tRNS(png, info, alpha, 3, nullptr);
  }
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  for (auto& row : rows) pointers.push_back(row.data());
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return out;
}

Tensor decode(const std::vector<uint8_t>& file) { return Image::decode(std::as_bytes(std::span(file)), "in.png").tensor(); }

void expect_values(const std::vector<uint8_t>& file, const Shape& shape, const std::vector<double>& expected) {
  const Tensor values = decode(file);
  ASSERT_EQ(values.shape(), shape);
  ASSERT_EQ(values.floats().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(values.floats()[i], static_cast<float>(expected[i])) << i;
}

TEST(Png, GrayOfEachDepth) {
  expect_values(write_png(1, 3, 1, PNG_COLOR_TYPE_GRAY, false, {{0b10100000}}), {1, 3, 3}, {1, 1, 1, 0, 0, 0, 1, 1, 1});
  expect_values(write_png(1, 2, 4, PNG_COLOR_TYPE_GRAY, false, {{0x5f}}), {1, 2, 3}, {1. / 3, 1. / 3, 1. / 3, 1, 1, 1});
  expect_values(write_png(2, 1, 8, PNG_COLOR_TYPE_GRAY, true, {{51}, {102}}), {2, 1, 3}, {.2, .2, .2, .4, .4, .4});
  expect_values(write_png(1, 1, 16, PNG_COLOR_TYPE_GRAY, false, {{0x12, 0x34}}), {1, 1, 3}, {0x12 / 255., 0x12 / 255., 0x12 / 255.});
}

TEST(Png, PaletteAlphaAndWideSamples) {
  expect_values(write_png(1, 3, 2, PNG_COLOR_TYPE_PALETTE, false, {{0b00011000}}), {1, 3, 3},
                {1, 0, 10 / 255., 1 / 255., 2 / 255., 3 / 255., 40 / 255., 50 / 255., 60 / 255.});
  expect_values(write_png(1, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, false, {{255, 51, 0, 0}}), {1, 1, 3}, {1, .2, 0});
  expect_values(write_png(1, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, true, {{51, 7}}), {1, 1, 3}, {.2, .2, .2});
  expect_values(write_png(1, 1, 16, PNG_COLOR_TYPE_RGB, false, {{0, 255, 0x80, 0, 0xff, 0xff}}), {1, 1, 3}, {0, 0x80 / 255., 1});
  expect_values(write_png(1, 1, 16, PNG_COLOR_TYPE_RGB_ALPHA, false, {{0, 1, 0x80, 0, 0xff, 0xff, 1, 2}}), {1, 1, 3}, {0, 0x80 / 255., 1});
}

TEST(Png, InterlacedEqualsPlain) {
  std::vector<std::vector<uint8_t>> rows(9, std::vector<uint8_t>(11 * 3));
  for (size_t y = 0; y < rows.size(); ++y)
    for (size_t x = 0; x < rows[y].size(); ++x) rows[y][x] = static_cast<uint8_t>(y * 29 + x * 5);
  const Tensor plain = decode(write_png(9, 11, 8, PNG_COLOR_TYPE_RGB, false, rows)),
               interlaced = decode(write_png(9, 11, 8, PNG_COLOR_TYPE_RGB, true, rows));
  EXPECT_EQ(std::memcmp(plain.data(), interlaced.data(), plain.bytes()), 0);
}

// The text chunks of a PNG as libpng reads them.
std::map<std::string, std::pair<int, std::string>> read_text(const std::vector<uint8_t>& file) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  size_t position = 0;
  std::pair<const std::vector<uint8_t>*, size_t*> source{&file, &position};
  png_set_read_fn(png, &source, [](png_structp p, png_bytep data, size_t size) {
    auto* from = static_cast<std::pair<const std::vector<uint8_t>*, size_t*>*>(png_get_io_ptr(p));
    std::memcpy(data, from->first->data() + *from->second, size);
    *from->second += size;
  });
  png_read_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_textp text = nullptr;
  int count = 0;
  png_get_text(png, info, &text, &count);
  std::map<std::string, std::pair<int, std::string>> chunks;
  for (int i = 0; i < count; ++i) chunks[text[i].key] = {text[i].compression, text[i].text};
  png_destroy_read_struct(&png, &info, nullptr);
  return chunks;
}

TEST(Png, TextChunks) {
  const uint8_t rgb[3] = {1, 2, 3};
  const TextChunks text{{"prompt", "a red apple\nin a bowl"},
                        {"negative prompt", "caf\u00e9 \U0001F34E"},
                        {"seed", "7"},
                        {"empty", ""},
                        {"nul", std::string("a\0b", 3)},
                        {"latin1", "caf\xe9 \xff"}};
  const auto chunks = read_text(encode_png(1, 1, rgb, text));
  ASSERT_EQ(chunks.size(), 6u);
  EXPECT_EQ(chunks.at("prompt"), (std::pair<int, std::string>{PNG_TEXT_COMPRESSION_NONE, "a red apple\nin a bowl"}));
  EXPECT_EQ(chunks.at("negative prompt"), (std::pair<int, std::string>{PNG_ITXT_COMPRESSION_NONE, "caf\u00e9 \U0001F34E"}));
  EXPECT_EQ(chunks.at("seed").second, "7");
  EXPECT_EQ(chunks.at("nul").second, "ab");
  EXPECT_EQ(chunks.at("latin1"), (std::pair<int, std::string>{PNG_ITXT_COMPRESSION_NONE, "caf\ufffd \ufffd"}));
  for (const std::string& bad :
       {std::string(), std::string(80, 'x'), std::string(" a"), std::string("a  b"), std::string("\u00e9"), std::string("a\nb")})
    EXPECT_THROW(encode_png(1, 1, rgb, {{bad, "x"}}), UsageError) << bad;
}

TEST(Png, DamagedFilesAreErrors) {
  const std::vector<uint8_t> rgb(64 * 64 * 3, 77);
  const std::vector<uint8_t> good = encode_png(64, 64, rgb.data(), {{"prompt", "x"}});
  EXPECT_NO_THROW(decode(good));
  // Without its end chunk (12 bytes) a picture is still whole.
  for (size_t size = 0; size + 12 < good.size(); ++size) {
    const std::string message = message_of<UserError>([&] { decode({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}); });
    EXPECT_TRUE(message.starts_with(size < 8 ? "in.png: not a PNG or JPEG picture" : "in.png: damaged PNG: ")) << size << ": " << message;
  }
  for (size_t i = 0; i < good.size(); ++i)
    for (const uint8_t change : {0x00, 0xff, 0x80}) {
      std::vector<uint8_t> file = good;
      file[i] ^= change;
      try {
        decode(file);
      } catch (const UserError&) {
      }
    }
}

TEST(Png, HugeDimensionsAreRefusedBeforeMemoryIsTaken) {
  // A tiny file with a valid header chunk that claims 2^31 - 1 pixels each way.
  std::vector<uint8_t> file = write_png(1, 1, 8, PNG_COLOR_TYPE_GRAY, false, {{1}});
  const auto claim = [&](uint32_t width, uint32_t height) {
    for (int i = 0; i < 4; ++i) {
      file[16 + static_cast<size_t>(i)] = static_cast<uint8_t>(width >> (24 - 8 * i));
      file[20 + static_cast<size_t>(i)] = static_cast<uint8_t>(height >> (24 - 8 * i));
    }
    uint32_t crc = 0xffffffffu;  // of the chunk's type and data, as the PNG specification defines it
    for (size_t i = 12; i < 29; ++i) {
      crc ^= file[i];
      for (int k = 0; k < 8; ++k) crc = crc & 1 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
    }
    for (int i = 0; i < 4; ++i) file[29 + static_cast<size_t>(i)] = static_cast<uint8_t>(~crc >> (24 - 8 * i));
    return message_of<UserError>([&] { decode(file); });
  };
  EXPECT_EQ(claim(0x7fffffff, 1).substr(0, 21), "in.png: damaged PNG: ");
  EXPECT_EQ(claim(1, 0x7fffffff).substr(0, 21), "in.png: damaged PNG: ");
  EXPECT_NE(claim(60000, 60000).find("60000 x 60000 pixels: at most"), std::string::npos);
  EXPECT_NE(claim(0, 5).find("damaged PNG"), std::string::npos);
}

void put(std::vector<uint8_t>& out, uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(number >> shift));
}

int64_t most_memory() {  // that this process ever had, in bytes
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(Png, TextThatIsNotReadIsNotUnpacked) {
  constexpr size_t kText = 7 << 20, kChunks = 30;
  std::vector<uint8_t> chunk{'z', 'T', 'X', 't', 'a', 0, 0};
  {
    const std::vector<uint8_t> text(kText, 'a');
    std::vector<uint8_t> packed(compressBound(kText));
    uLongf size = packed.size();
    ASSERT_EQ(compress2(packed.data(), &size, text.data(), kText, 1), Z_OK);
    chunk.insert(chunk.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
  }
  std::vector<uint8_t> whole;
  put(whole, static_cast<uint32_t>(chunk.size()) - 4);
  whole.insert(whole.end(), chunk.begin(), chunk.end());
  put(whole, static_cast<uint32_t>(crc32(0, chunk.data(), static_cast<uInt>(chunk.size()))));
  std::vector<uint8_t> file = write_png(1, 1, 8, PNG_COLOR_TYPE_GRAY, false, {{51}});
  constexpr std::ptrdiff_t kHeaderEnd = 33;
  for (size_t i = 0; i < kChunks; ++i) file.insert(file.begin() + kHeaderEnd, whole.begin(), whole.end());
  const int64_t before = most_memory();
  expect_values(file, {1, 1, 3}, {.2, .2, .2});
  EXPECT_LT(most_memory() - before, static_cast<int64_t>(kText * kChunks / 4));
}

TEST(Png, Transparency) {
  const auto transparency = [](const std::vector<uint8_t>& file) -> std::vector<uint8_t> {
    const auto mask = decode_png_transparency(std::as_bytes(std::span(file)), "in.png", 100);
    return mask ? std::vector(mask->rgb.get(), mask->rgb.get() + mask->height * mask->width * 3) : std::vector<uint8_t>();
  };
  using Values = std::vector<uint8_t>;
  EXPECT_EQ(transparency(write_png(1, 2, 8, PNG_COLOR_TYPE_RGB_ALPHA, false, {{1, 2, 3, 0, 4, 5, 6, 255}})), (Values{255, 255, 255, 0, 0, 0}));
  EXPECT_EQ(transparency(write_png(2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, true, {{51, 7}, {1, 9}})), (Values{248, 248, 248, 246, 246, 246}));
  EXPECT_EQ(transparency(write_png(1, 3, 2, PNG_COLOR_TYPE_PALETTE, false, {{0b00011000}})), (Values{255, 255, 255, 127, 127, 127, 0, 0, 0}));
  EXPECT_EQ(transparency(write_png(1, 1, 16, PNG_COLOR_TYPE_RGB_ALPHA, false, {{0, 1, 0x80, 0, 0xff, 0xff, 1, 2}})), (Values{254, 254, 254}));
  EXPECT_EQ(transparency(write_png(1, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, false, {{1, 2, 3, 255}})), Values());
  EXPECT_EQ(transparency(write_png(1, 1, 8, PNG_COLOR_TYPE_RGB, false, {{1, 2, 3}})), Values());
  const std::vector<uint8_t> wide = write_png(1, 101, 8, PNG_COLOR_TYPE_GRAY_ALPHA, false, {std::vector<uint8_t>(202)});
  EXPECT_EQ(message_of<UserError>([&] { transparency(wide); }), "in.png: the picture has 101 x 1 pixels: at most 100 are supported");
}

TEST(Png, FilesThatAreNone) {
  const TempFolder folder;
  write_file(folder / "a.png", "GIF89a, not a PNG");
  EXPECT_EQ(message_of<UserError>([&] { Image::load(folder / "a.png"); }),
            (folder / "a.png").string() + ": not a PNG or JPEG picture: it is a GIF picture");
  EXPECT_EQ(message_of<UserError>([&] { Image::load(folder / "b.png"); }), (folder / "b.png").string() + ": file not found");
}

}  // namespace
}  // namespace vivace
