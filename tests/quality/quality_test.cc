#include "vivace/quality.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// As in tools/golden/quality.py, which prints the expected figures.
Image picture(int height, int width, int noise) {
  std::vector<uint8_t> rgb;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const int down = ((5 * y - x + 1000) % 150 + 150) % 150;  // Python's remainder
        const int wave = std::abs((3 * x + 2 * y + 40 * c) % 200 - 100) + std::abs(down - 75);
        const int texture = (31 * x + 17 * y + 7 * c) % (2 * noise + 1) - noise;
        rgb.push_back(static_cast<uint8_t>(std::clamp(wave + texture + 20, 0, 255)));
      }
  return Image::from_pixels(height, width, rgb);
}

struct Golden {
  int height, width, noise;
  double psnr, ssim, mdsi;
};

TEST(Quality, EqualsScikitImageAndPiq) {
  constexpr Golden kGolden[] = {
      {40, 52, 12, 30.968762679, 0.795236237, 0.249396783},
      {97, 64, 60, 17.308953560, 0.146192332, 0.443663128},
      {520, 600, 30, 23.217994948, 0.398765531, 0.169943356},
  };
  for (const Golden& g : kGolden) {
    SCOPED_TRACE(g.height);
    const Image reference = picture(g.height, g.width, 0), image = picture(g.height, g.width, g.noise);
    // Both compute in float64 from the same float32 values; the figures are printed to 9 digits.
    EXPECT_NEAR(psnr(reference, image), g.psnr, 1e-8);
    EXPECT_NEAR(ssim(reference, image), g.ssim, 1e-8);
    EXPECT_NEAR(mdsi(reference, image), g.mdsi, 1e-8);
  }
}

TEST(Quality, EqualPictures) {
  const Image image = picture(33, 47, 5);
  EXPECT_EQ(psnr(image, image), std::numeric_limits<double>::infinity());
  EXPECT_DOUBLE_EQ(ssim(image, image), 1);
  EXPECT_EQ(mdsi(image, image), 0);
}

TEST(Quality, MoreNoiseIsWorse) {
  const Image reference = picture(64, 64, 0), some = picture(64, 64, 4), more = picture(64, 64, 40);
  EXPECT_GT(psnr(reference, some), psnr(reference, more));
  EXPECT_GT(ssim(reference, some), ssim(reference, more));
  EXPECT_LT(mdsi(reference, some), mdsi(reference, more));
}

TEST(Quality, RefusesOtherSizesAndSmallPictures) {
  const Image image = picture(16, 16, 0), other = picture(16, 24, 0), small = picture(10, 30, 0);
  EXPECT_EQ(message_of<UsageError>([&] { psnr(image, other); }), "pictures of 16x16 and 16x24 can't be compared: expected one size");
  EXPECT_THROW(ssim(image, other), UsageError);
  EXPECT_THROW(mdsi(image, Image()), UsageError);
  EXPECT_EQ(message_of<UsageError>([&] { ssim(small, small); }), "SSIM needs 11 pixels a side, got 10x30");
}

TEST(Quality, LatentsAsVectors) {
  const Tensor a = Tensor::from({3, 4}), b = Tensor::from({4, -3}), zero = Tensor::from({0, 0});
  EXPECT_DOUBLE_EQ(cosine_similarity(a, a), 1);
  EXPECT_DOUBLE_EQ(cosine_similarity(a, b), 0);
  EXPECT_DOUBLE_EQ(cosine_similarity(a, Tensor::from({-6, -8})), -1);
  EXPECT_DOUBLE_EQ(cosine_similarity(zero, zero), 1);
  EXPECT_DOUBLE_EQ(relative_rms(a, a), 0);
  EXPECT_DOUBLE_EQ(relative_rms(a, zero), 1);
  EXPECT_DOUBLE_EQ(relative_rms(a, Tensor::from({3, 5})), 0.2);
  EXPECT_EQ(relative_rms(zero, a), std::numeric_limits<double>::infinity());
  EXPECT_EQ(message_of<UsageError>([&] {
              relative_rms(a, Tensor::from({1, 2, 3}));
            }),
            "tensors of shape [2] and [3] can't be compared: expected one shape");
}

}  // namespace
}  // namespace vivace
