// Random numbers against torch.Generator("cpu") (tools/golden/generator.py).
#include "vivace/generator.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

uint64_t fnv(std::span<const float> values) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (float value : values)
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ (std::bit_cast<uint32_t>(value) >> shift & 0xff)) * 0x100000001b3ull;
  return hash;
}

// Steps between two floats of the same sign.
int64_t ulps(float a, uint32_t bits) {
  return std::abs(static_cast<int64_t>(std::bit_cast<int32_t>(a)) - static_cast<int64_t>(static_cast<int32_t>(bits)));
}

void expect_equal(std::span<const float> values, const Json& call) {
  const auto bits = [&](const char* key) { return call[key].get<std::vector<uint32_t>>(); };
  if (call.contains("hash")) {
    const auto first = bits("first"), last = bits("last");
    for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(std::bit_cast<uint32_t>(values[i]), first[i]) << i;
    for (size_t i = 0; i < last.size(); ++i) EXPECT_EQ(std::bit_cast<uint32_t>(values[values.size() - last.size() + i]), last[i]) << i;
    EXPECT_EQ(std::to_string(fnv(values)), call["hash"].get<std::string>());
    return;
  }
  // Short normal draws go through the C library in double precision; its last bit may move the rounding to float.
  const int64_t allowed = call["kind"] == "randn" && values.size() < 16 ? 1 : 0;
  const auto expected = bits("bits");
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_LE(ulps(values[i], expected[i]), allowed) << i;
}

TEST(Generator, StreamsEqualTorch) {
  const Json streams = Json::parse(std::ifstream(std::string(VIVACE_TEST_DATA) + "/random.json"));
  ASSERT_GT(streams.size(), 20u);
  for (const Json& stream : streams) {
    Generator generator(std::stoull(stream["seed"].get<std::string>()));
    int index = 0;
    for (const Json& call : stream["calls"]) {
      SCOPED_TRACE("seed " + stream["seed"].get<std::string>() + ", call " + std::to_string(index++) + ": " + call["kind"].get<std::string>());
      const Shape shape{call["n"].get<int64_t>()};
      const Tensor x = call["kind"] == "randn" ? generator.randn(shape) : generator.rand(shape);
      expect_equal(x.floats(), call);
    }
  }
}

TEST(Generator, SeedsByTheLow32Bits) {
  EXPECT_EQ(Generator(5).random32(), Generator((uint64_t{1} << 32) + 5).random32());
  EXPECT_EQ(Generator((uint64_t{1} << 32) + 5).initial_seed(), (uint64_t{1} << 32) + 5);
  EXPECT_EQ(Generator(5489).random32(), 3499211612u);  // the first value of mt19937's reference implementation
}

TEST(Generator, ManualSeedRestartsTheStream) {
  Generator generator(9);
  const Tensor first = generator.randn({3});  // leaves a cached second normal behind
  generator.manual_seed(9);
  const Tensor again = generator.randn({3});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(first.as<float>()[i], again.as<float>()[i]);
}

TEST(Generator, ShapesAndEmptyTensors) {
  Generator generator(1);
  EXPECT_EQ(generator.randn({2, 3, 4}).shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(generator.randn({0, 4}).numel(), 0);
  EXPECT_EQ(generator.rand({}).numel(), 1);
}

TEST(Generator, MomentsOfManyDraws) {
  const Tensor x = Generator(3).randn({1 << 20}), u = Generator(3).rand({1 << 20});
  double mean = 0, square = 0, uniform = 0;
  for (float v : x.floats()) mean += v, square += static_cast<double>(v) * v;
  for (float v : u.floats()) {
    ASSERT_GE(v, 0.f);
    ASSERT_LT(v, 1.f);
    uniform += v;
  }
  const double n = static_cast<double>(x.numel()), sigmas = 5 / std::sqrt(n);
  EXPECT_NEAR(mean / n, 0, sigmas);
  EXPECT_NEAR(square / n, 1, sigmas * std::sqrt(2.0));
  EXPECT_NEAR(uniform / n, 0.5, sigmas / std::sqrt(12.0));
}

TEST(RandnTensor, OneGeneratorDrawsAllSeveralDrawTheirImage) {
  const Shape shape{2, 3, 4, 2};
  Generator a(1), b(2), c(1), d(2), e(1);
  Generator* const one[] = {&a};
  const Tensor whole = randn_tensor(shape, one), expected = e.randn(shape);
  for (int i = 0; i < whole.numel(); ++i) EXPECT_EQ(whole.as<float>()[i], expected.as<float>()[i]);
  a.manual_seed(1);
  Generator* const two[] = {&a, &b};
  const Tensor batch = randn_tensor(shape, two), first = c.randn({1, 3, 4, 2}), second = d.randn({1, 3, 4, 2});
  for (int i = 0; i < 24; ++i) {
    EXPECT_EQ(batch.as<float>()[i], first.as<float>()[i]);
    EXPECT_EQ(batch.as<float>()[24 + i], second.as<float>()[i]);
  }
}

TEST(RandnTensor, RefusesWrongNumbersOfGenerators) {
  Generator a(1), b(2);
  Generator* const two[] = {&a, &b};
  Generator* const none[] = {nullptr};
  EXPECT_THROW(randn_tensor({3, 4}, two), UsageError);
  EXPECT_THROW(randn_tensor({}, two), UsageError);
  EXPECT_THROW(randn_tensor({3, 4}, {}), UsageError);
  EXPECT_THROW(randn_tensor({3, 4}, none), UsageError);
}

}  // namespace
}  // namespace vivace
