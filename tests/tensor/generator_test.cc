// Random numbers against torch.Generator("cpu") (tools/golden/generator.py), and those of torch.Generator("cuda").
#include "vivace/generator.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/json.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

uint64_t fnv(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3ull;
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
    EXPECT_EQ(std::to_string(fnv({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()})), call["hash"].get<std::string>());
    return;
  }
  // Short normal draws go through the C library in double precision; its last bit may move the rounding to float.
  const int64_t allowed = call["kind"] == "randn" && values.size() < 16 ? 1 : 0;
  const auto expected = bits("bits");
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_LE(ulps(values[i], expected[i]), allowed) << i;
}

TEST(Generator, StreamsEqualTorch) {
  const Json streams = read_json(std::string(VIVACE_TEST_DATA) + "/random.json");
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
    Tensor state = generator.get_state();
    const std::span<uint8_t> bytes(state.as<uint8_t>(), 5056);
    std::ranges::fill(bytes.subspan(5024, 8), uint8_t{0});  // a normal number that is kept: its last bit is the C library's
    EXPECT_EQ(std::to_string(fnv(bytes)), stream["state"].get<std::string>());
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

TEST(Generator, AStateGoesOn) {
  Generator generator(7), other(1);
  for (const int64_t drawn : {0, 3, 16, 700, 1}) {
    generator.randn({drawn});
    other.set_state(generator.get_state());
    EXPECT_EQ(other.initial_seed(), 7u);
    Generator copy = generator;
    for (const int64_t n : {1, 700, 3, 16}) {
      const Tensor a = copy.randn({n}), b = other.randn({n});
      EXPECT_TRUE(std::ranges::equal(a.floats(), b.floats())) << drawn << ", " << n;
    }
  }
  Generator cuda = Generator::cuda(7), beside = Generator::cuda(8);
  cuda.randn({5});
  beside.set_state(cuda.get_state());
  EXPECT_TRUE(std::ranges::equal(cuda.randn({9}).floats(), beside.randn({9}).floats()));
  EXPECT_THROW(beside.set_state(generator.get_state()), UsageError);
  EXPECT_THROW(generator.set_state(cuda.get_state()), UsageError);
  Tensor nothing({5056}, DType::uint8);
  std::ranges::fill(std::span(nothing.as<uint8_t>(), 5056), uint8_t{0});
  EXPECT_THROW(generator.set_state(nothing), UsageError);
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

// torch.randn(12, generator=torch.Generator("cuda").manual_seed(0)), as programs that reproduce its pictures elsewhere document it.
TEST(CudaGenerator, EqualsTorch) {
  const float wanted[] = {-0.92466259f, -0.42534415f, -2.6438457f,  0.14518388f,  -0.12086647f, -0.57972564f,
                          -0.62285122f, -0.32838709f, -1.07454231f, -0.36314407f, -1.67105067f, 2.26550497f};
  Generator generator = Generator::cuda(0);
  const Tensor y = generator.randn({2, 6});
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(y.floats()[i], wanted[i], 1e-6) << i;
  EXPECT_EQ(generator.initial_seed(), 0u);
  const Tensor next = generator.randn({12});
  EXPECT_NE(next.floats()[0], y.floats()[0]) << "the stream goes on";
  EXPECT_EQ(generator.manual_seed(0).randn({12}).floats()[0], y.floats()[0]);
  EXPECT_THROW((void)generator.random64(), UsageError);
  EXPECT_THROW(Generator::cuda(0, 1000), UsageError);
}

// Philox as its paper writes it, with the counter as one number of 128 bits.
struct Counter {
  uint32_t x[4];
};
Counter philox(uint64_t seed, uint64_t high, uint64_t low) {
  Counter c{{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32), static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}};
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int r = 0; r < 10; ++r, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
    const uint64_t p0 = uint64_t{0xd2511f53u} * c.x[0], p1 = uint64_t{0xcd9e8d57u} * c.x[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.x[1] ^ k0, static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c.x[3] ^ k1,
          static_cast<uint32_t>(p0)}};
  }
  return c;
}

// Element i belongs to thread i % threads; each of its draws of four serves four elements that are a grid apart, and each call takes whole draws.
TEST(CudaGenerator, LargeTensorsGoRoundTheGrid) {
  const int64_t threads = 2048, n = 4 * threads + 3 * threads + 5;  // a second draw, which is not used up
  const uint64_t seed = 0x123456789abcdefull;
  Generator generator = Generator::cuda(seed, threads);
  (void)generator.randn({4 * threads + 1});  // two draws
  const Tensor y = generator.rand({n}), z = generator.randn({n});
  for (int64_t i = 0; i < n; i += 97) {
    const int64_t turn = i / threads;
    const auto bits = [&](uint64_t first) { return philox(seed, static_cast<uint64_t>(i % threads), first + static_cast<uint64_t>(turn / 4)); };
    const double u = (bits(2).x[turn % 4] + 0.5) * 0x1p-32;
    ASSERT_NEAR(y.floats()[static_cast<size_t>(i)], u == 1 ? 0 : u, 0x1p-23) << i;
    const Counter c = bits(4);
    const uint32_t* pair = c.x + turn % 4 / 2 * 2;
    const double radius = std::sqrt(-2 * std::log((pair[0] + 0.5) * 0x1p-32)), angle = (pair[1] + 0.5) * 0x1p-32 * 2 * std::numbers::pi;
    ASSERT_NEAR(z.floats()[static_cast<size_t>(i)], radius * (turn % 2 ? std::cos(angle) : std::sin(angle)), 4e-6) << i;
  }
}

}  // namespace
}  // namespace vivace
