#include "vivace/image.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

Image gradient(int height, int width) {
  std::vector<uint8_t> rgb(static_cast<size_t>(height * width * 3));
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>(i * 7 % 256);
  return Image::from_pixels(height, width, rgb);
}

TEST(Image, PixelsRoundAsNumpyDoes) {
  // Half-way values go to the even neighbour; what lies outside 0..1 is clamped.
  std::vector<float> values{0.f, 1.f, 0.5f / 255.f, 1.5f / 255.f, 2.5f / 255.f, 0.49999f, 0.50001f, -0.1f, 1.7f, NAN, INFINITY, -INFINITY};
  const Image image = Image::from_tensor(Tensor::from({2, 2, 3}, std::span<const float>(values)));
  std::vector<uint8_t> expected;
  for (float v : values) expected.push_back(static_cast<uint8_t>(std::nearbyint(v > 0 ? std::fmin(v, 1.f) * 255.f : 0.f)));
  EXPECT_EQ(image.pixels(), expected);
  EXPECT_EQ(image.pixels()[2], 0);
  EXPECT_EQ(image.pixels()[3], 2);
  EXPECT_EQ(image.pixels()[8], 255);
}

TEST(Image, EveryByteSurvivesTheFloats) {
  std::vector<uint8_t> rgb(256 * 3);
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>(i / 3);
  const Image image = Image::from_pixels(16, 16, rgb);
  EXPECT_EQ(image.pixels(), rgb);
  EXPECT_EQ(image.height(), 16);
  EXPECT_EQ(image.channels(), 3);
  EXPECT_EQ(image.tensor().shape(), (Shape{16, 16, 3}));
}

TEST(Image, RefusesOtherTensors) {
  EXPECT_EQ(message_of<UsageError>([] {
              Image::from_tensor(Tensor::zeros({1, 2, 3, 4}));
            }),
            "an image needs a float32 tensor [height, width, 3], got float32 [1, 2, 3, 4]");
  EXPECT_THROW(Image::from_tensor(Tensor::zeros({2, 2, 4})), UsageError);
  EXPECT_THROW(Image::from_tensor(Tensor::zeros({2, 0, 3})), UsageError);
  EXPECT_THROW(Image::from_tensor(Tensor::zeros({2, 2, 3}, bfloat16)), UsageError);
  EXPECT_THROW(Image::from_tensor(Tensor()), UsageError);
  EXPECT_THROW(Image::from_pixels(2, 2, std::vector<uint8_t>(11)), UsageError);
  EXPECT_THROW(Image().save("x.png"), UsageError);
  EXPECT_EQ(Image().width(), 0);
}

TEST(Image, PngRoundTrip) {
  const TempFolder folder;
  for (const auto& [height, width] : {std::pair{1, 1}, std::pair{7, 5}, std::pair{64, 128}}) {
    const Image image = gradient(height, width);
    image.save(folder / "a.PNG");
    const Image back = Image::load(folder / "a.PNG");
    EXPECT_EQ(back.height(), height);
    EXPECT_EQ(back.width(), width);
    EXPECT_EQ(back.pixels(), image.pixels());
  }
}

TEST(Image, NpyIsNumpysFormat) {
  const TempFolder folder;
  const Image image = gradient(3, 1000);
  image.save(folder / "a.npy");
  const std::string file = read_file(folder / "a.npy");
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t length = static_cast<uint8_t>(file[8]) + 256 * static_cast<size_t>(static_cast<uint8_t>(file[9]));
  EXPECT_EQ((10 + length) % 64, 0u);
  EXPECT_EQ(file[10 + length - 1], '\n');
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000, 3), }";
  EXPECT_EQ(file.substr(10, dict.size()), dict);
  ASSERT_EQ(file.size(), 10 + length + image.tensor().bytes());
  EXPECT_EQ(std::memcmp(file.data() + 10 + length, image.tensor().data(), image.tensor().bytes()), 0);
}

TEST(Image, PathsThatCannotBeSaved) {
  const TempFolder folder;
  const Image image = gradient(4, 4);
  const auto error = [&](const fs::path& path) {
    const std::string message = message_of<UserError>([&] { image.save(path); });
    EXPECT_EQ(message_of<UserError>([&] { Image::check_save_path(path); }), message);
    return message;
  };
  EXPECT_EQ(error("x.jpg"), "cannot write x.jpg: unknown extension \".jpg\": expected .png or .npy");
  EXPECT_EQ(error("x"), "cannot write x: it has no extension: expected .png or .npy");
  EXPECT_THROW(image.save("x.jpg"), UsageError);
  EXPECT_NE(error(folder / "no/x.png").find("does not exist: create it first"), std::string::npos);
  EXPECT_NE(error(folder / "no/x.npy").find("does not exist: create it first"), std::string::npos);
  fs::create_directory(folder / "f.png");
  EXPECT_NE(error(folder / "f.png").find("it is a folder"), std::string::npos);
  EXPECT_NO_THROW(Image::check_save_path(folder / "x.png"));
  fs::create_symlink("/dev/full", folder / "full.png");
  fs::create_symlink("/dev/full", folder / "full.npy");
  for (const char* name : {"full.png", "full.npy"})
    EXPECT_NE(message_of<UserError>([&] { image.save(folder / name); }).find("the disk is full"), std::string::npos);
  EXPECT_EQ(folder.files(), 3u) << "no partial file is left";
}

TEST(ContactSheet, PlacesPicturesInRows) {
  const Image red = Image::from_tensor(Tensor::full({2, 2, 3}, 0.25f)), tall = Image::from_tensor(Tensor::full({3, 1, 3}, 0.75f));
  const std::vector<Image> images{red, tall, red};
  const Image sheet = contact_sheet(images, 2, 1, 1.f);
  EXPECT_EQ(sheet.tensor().shape(), (Shape{1 + 2 * (3 + 1), 1 + 2 * (2 + 1), 3}));
  const auto at = [&](int y, int x) { return sheet.tensor().floats()[static_cast<size_t>((y * sheet.width() + x) * 3 + 1)]; };
  const std::vector<std::string> expected{"#######", "#rr#t##", "#rr#t##", "####t##", "#######", "#rr####", "#rr####", "#######", "#######"};
  for (int y = 0; y < 9; ++y)
    for (int x = 0; x < 7; ++x) {
      const char c = expected[static_cast<size_t>(y)][static_cast<size_t>(x)];
      EXPECT_EQ(at(y, x), c == '#' ? 1.f : c == 'r' ? 0.25f : 0.75f) << y << ", " << x;
    }
  EXPECT_EQ(contact_sheet(images, 100, 0).width(), 6) << "no empty columns";
  EXPECT_THROW(contact_sheet({}, 2), UsageError);
  // Copies share their values: the pictures take nothing, the sheet would take 12 GB and a row.
  const std::vector<Image> many((1 << 10) + 1, Image::from_tensor(Tensor::zeros({1 << 10, 1 << 10, 3})));
  EXPECT_NE(message_of<UsageError>([&] { contact_sheet(many, 1 << 5, 0); }).find("1025 pictures would have 32768 x 33792 pixels: at most 1073741824"),
            std::string::npos);
  EXPECT_THROW(contact_sheet(images, 0), UsageError);
  EXPECT_THROW(contact_sheet(std::vector<Image>{Image()}, 1), UsageError);
}

TEST(Image, ResizedAsPillowDoes) {
  // Height and width before and after, FNV-1a of the bytes that Pillow 13's resize((W, H), LANCZOS) gives.
  struct Case {
    int height, width, to_height, to_width;
    uint32_t hash;
  };
  constexpr Case kCases[] = {{20, 52, 32, 48, 0xa74ba510}, {5, 7, 9, 4, 0x5a275fda},     {40, 30, 13, 13, 0x0cfff15a},
                             {1, 1, 6, 5, 0x50740e63},     {16, 16, 16, 16, 0x594a0e88}, {33, 9, 33, 40, 0xc8bc28a0},
                             {70, 50, 64, 64, 0x7dce7901}, {41, 33, 17, 40, 0x40ab9678}, {40, 30, 20, 20, 0x19ca458c}};
  for (const Case& c : kCases) {
    std::vector<uint8_t> rgb(static_cast<size_t>(c.height * c.width * 3));
    for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>((i * 7 + (i / 11) * (i / 11)) % 256);
    uint32_t hash = 2166136261u;
    for (const uint8_t byte : Image::from_pixels(c.height, c.width, rgb).resized(c.to_height, c.to_width).pixels()) hash = (hash ^ byte) * 16777619u;
    EXPECT_EQ(hash, c.hash) << c.height << " x " << c.width << " -> " << c.to_height << " x " << c.to_width;
  }
  EXPECT_THROW(gradient(2, 2).resized(0, 2), UsageError);
}

}  // namespace
}  // namespace vivace
