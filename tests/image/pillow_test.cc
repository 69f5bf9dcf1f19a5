// Files as people have them, resizing, blurring and overlays, against Pillow and Diffusers (tools/golden/pictures.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/region.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

const std::string kData = VIVACE_TEST_DATA;

nlohmann::json cases(const char* kind) { return read_json(kData + "/cases.json").at(kind); }
Image load(const std::string& name) { return Image::load(kData + "/" + name); }

void expect_equal(const Image& got, const Image& want, const std::string& what) {
  ASSERT_EQ(got.height(), want.height()) << what;
  ASSERT_EQ(got.width(), want.width()) << what;
  const auto a = got.pixels(), b = want.pixels();
  const auto differs = std::ranges::mismatch(a, b).in1 - a.begin();
  EXPECT_EQ(differs, static_cast<std::ptrdiff_t>(a.size())) << what << " at byte " << differs;
}

TEST(Pillow, ReadsFilesAsLoadImage) {
  for (const auto& item : cases("load")) expect_equal(load(item.at("file")), load(item.at("expected")), item.at("file"));
}

TEST(Pillow, Blur) {
  for (const auto& item : cases("blur")) expect_equal(load("wide.png").blurred(item.at("radius")), load(item.at("expected")), json_text(item));
  expect_equal(load("wide.png").blurred(0), load("wide.png"), "0");
  EXPECT_THROW(load("wide.png").blurred(-1), UsageError);
}

TEST(Pillow, CropRegion) {
  for (const auto& item : cases("region")) {
    const Box box = crop_region(load("mask.png"), item.at("height"), item.at("width"), item.at("padding"));
    EXPECT_EQ((std::vector<int>{box.left, box.top, box.right, box.bottom}), item.at("region").get<std::vector<int>>()) << json_text(item);
  }
  const std::vector<uint8_t> black(12, 0);
  EXPECT_NE(message_of<UsageError>([&] { crop_region(Image::from_pixels(2, 2, black), 8, 8, 1); }).find("black everywhere"), std::string::npos);
}

TEST(Pillow, FillAndOverlay) {
  for (const auto& item : cases("fill")) {
    const std::string name = item.at("expected");
    expect_equal(resized_to_fill(load("wide.png"), item.at("height"), item.at("width")), load(name), name);
  }
  // The pattern of the script, half a turn.
  std::vector<uint8_t> painted(32 * 48 * 3);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 48; ++x) {
      uint8_t* to = &painted[static_cast<size_t>(((31 - y) * 48 + 47 - x) * 3)];
      to[0] = static_cast<uint8_t>(std::lrint(128 + 120 * std::sin(x / 3.0)));
      to[1] = static_cast<uint8_t>(std::lrint(128 + 100 * std::cos(y / 4.0)));
      to[2] = static_cast<uint8_t>((x * 5 + y * 7) % 256);
    }
  const Image mask = load("mask.png").blurred(2);
  for (const auto& item : cases("overlay")) {
    const auto r = item.at("region").get<std::vector<int>>();
    expect_equal(overlaid(load("wide.png"), mask, Image::from_pixels(32, 48, painted), {r[0], r[1], r[2], r[3]}), load(item.at("expected")),
                 json_text(item));
  }
}

TEST(Pillow, PartsAreThoseOfTheWhole) {
  const Image wide = load("wide.png"), tall = resample(wide, wide.width(), 7, Filter::bicubic, {3, 2, 11, 9});
  for (const Image& image : {wide, tall})
    for (const auto& [height, width] : {std::pair{image.height(), image.width()}, {90, 70}, {5, 70}, {90, 4}, {3, 4}, {image.height(), 33}}) {
      const Box all{0, 0, image.width(), image.height()}, part{width / 4, height / 3, width / 4 + width / 2, height / 3 + height / 2};
      expect_equal(resample(image, height, width, Filter::lanczos, all, part), cropped(image.resized(height, width), part),
                   std::to_string(width) + " x " + std::to_string(height));
    }
}

// A region of another shape than what was painted for it: as large as would hold the region it would have 4096 x 2097152 pixels.
TEST(Pillow, OverlayComputesWhatIsSeen) {
  const auto plain = [](int height, int width, uint8_t value) {
    return Image::from_pixels(height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3), value));
  };
  const Image whole = overlaid(plain(8, 4096, 9), plain(8, 4096, 255), plain(4096, 8, 77), {0, 0, 4096, 8});
  expect_equal(whole, plain(8, 4096, 77), "all of it");
}

std::vector<std::byte> bytes_of(const std::string& name) {
  const std::string text = read_file(kData + "/" + name);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(Jpeg, DamagedFilesAreOneLine) {
  const std::vector<std::byte> good = bytes_of("rgb_420.jpg");
  // Without its end marker (2 bytes) a picture is still whole.
  for (size_t size = 0; size + 2 < good.size(); ++size) {
    const std::string message = message_of<UserError>([&] { Image::decode(std::span(good).first(size), "in.jpg"); });
    EXPECT_TRUE(message.starts_with(size < 3 ? "in.jpg: not a PNG or JPEG picture" : "in.jpg: damaged JPEG: ")) << size << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  for (const char* name : {"rgb_420.jpg", "progressive.jpg", "cmyk.jpg", "turned_6.jpg"}) {
    const std::vector<std::byte> file = bytes_of(name);
    for (size_t i = 0; i < file.size(); ++i)
      for (const uint8_t change : {0x01, 0xff, 0x80}) {
        std::vector<std::byte> damaged = file;
        damaged[i] ^= std::byte{change};
        try {
          Image::decode(damaged, "in.jpg");
        } catch (const UserError&) {
        }
      }
  }
}

TEST(Jpeg, HugePicturesAreRefusedBeforeMemoryIsTaken) {
  std::vector<std::byte> file = bytes_of("rgb_444.jpg");
  const std::byte frame[] = {std::byte{0xff}, std::byte{0xc0}};
  const auto at = std::ranges::search(file, frame).begin();
  ASSERT_NE(at, file.end());
  std::fill_n(at + 5, 4, std::byte{0xfe});  // height and width
  EXPECT_NE(message_of<UserError>([&] { Image::decode(file, "in.jpg"); }).find("65278 x 65278 pixels: at most 268435456"), std::string::npos);
}

TEST(Exif, WhatIsDamagedTurnsNothing) {
  const std::string good("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  const auto read = [](const std::string& text) { return exif_orientation(std::as_bytes(std::span(text))); };
  EXPECT_EQ(read(good), 6);
  for (size_t size = 0; size < 18; ++size) EXPECT_EQ(read(good.substr(0, size)), 0) << size;
  std::string beyond = good, ninth = good;
  beyond[4] = '\x7f';
  ninth[19] = '\x09';
  EXPECT_EQ(read(beyond), 0);
  EXPECT_EQ(read(ninth), 0);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation>3</tiff:Orientation>"), 3);
  EXPECT_EQ(xmp_orientation("tiff:Orientation=\""), 0);
}

}  // namespace
}  // namespace vivace
