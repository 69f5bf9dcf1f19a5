#include "schedulers/brownian_tree.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "vivace/generator.h"

namespace vivace {
namespace {

constexpr size_t kPoolSize = 24;

// Python's round(x, 6).
double rounded(double x) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6f", x);
  return std::strtod(text, nullptr);
}

void append_words(std::vector<uint32_t>& words, uint64_t number) {
  words.push_back(static_cast<uint32_t>(number));
  if (number >> 32) words.push_back(static_cast<uint32_t>(number >> 32));
}

}  // namespace

std::vector<uint32_t> seed_sequence(uint64_t entropy, std::span<const uint64_t> spawn_key, int n) {
  std::vector<uint32_t> words;
  append_words(words, entropy);
  if (!spawn_key.empty()) words.resize(std::max(words.size(), kPoolSize));
  for (uint64_t key : spawn_key) append_words(words, key);

  uint32_t hash = 0x43b0d7e5u;
  const auto hash_mix = [&](uint32_t value) {
    value ^= hash;
    hash *= 0x931e8875u;
    value *= hash;
    return value ^ (value >> 16);
  };
  const auto mix = [](uint32_t x, uint32_t y) {
    const uint32_t result = 0xca01f9ddu * x - 0x4973f715u * y;
    return result ^ (result >> 16);
  };
  std::array<uint32_t, kPoolSize> pool;
  for (size_t i = 0; i < kPoolSize; ++i) pool[i] = hash_mix(i < words.size() ? words[i] : 0);
  for (size_t from = 0; from < kPoolSize; ++from)
    for (size_t to = 0; to < kPoolSize; ++to)
      if (from != to) pool[to] = mix(pool[to], hash_mix(pool[from]));
  for (size_t from = kPoolSize; from < words.size(); ++from)
    for (uint32_t& word : pool) word = mix(word, hash_mix(words[from]));

  std::vector<uint32_t> state;
  hash = 0x8b51f9ddu;
  for (int i = 0; i < n; ++i) {
    uint32_t value = pool[static_cast<size_t>(i) % kPoolSize] ^ hash;
    hash *= 0x58f38dedu;
    value *= hash;
    state.push_back(value ^ (value >> 16));
  }
  return state;
}

BrownianTree::BrownianTree(Shape shape, double t0, double t1, uint64_t entropy)
    : shape_(std::move(shape)), start_(rounded(t0)), end_(rounded(t1)), entropy_(entropy) {
  whole_ = Generator(seed_sequence(entropy, {}, 1)[0]).randn(shape_);
  const auto deviation = static_cast<float>(std::sqrt(t1 - t0));
  for (float& w : whole_.floats()) w *= deviation;
}

void BrownianTree::add(const Node& node, const Tensor& motion, double from, double to, Tensor& sum) const {
  if (from == node.start && to == node.end) {
    if (!sum.defined()) {
      sum = motion.clone();
    } else {
      for (int64_t i = 0; i < sum.numel(); ++i) sum.as<float>()[i] += motion.as<float>()[i];
    }
    return;
  }
  const double middle = rounded(0.5 * (node.end + node.start)), left = middle - node.start, right = node.end - middle;
  const double reciprocal = 1 / (node.end - node.start);
  const auto share = static_cast<float>(left), scale = static_cast<float>(reciprocal);
  const auto deviation = static_cast<float>(std::sqrt(left * right * reciprocal));
  const uint64_t spawn_key[] = {node.key, node.depth};
  Tensor half = Generator(seed_sequence(entropy_, spawn_key, 1)[0]).randn(shape_);
  for (int64_t i = 0; i < half.numel(); ++i) {
    float& w = half.as<float>()[i];
    w = share * motion.as<float>()[i] * scale + deviation * w;
  }
  if (from < middle) add({node.start, middle, 2 * node.key, node.depth + 1}, half, from, std::min(to, middle), sum);
  if (to <= middle) return;
  for (int64_t i = 0; i < half.numel(); ++i) half.as<float>()[i] = motion.as<float>()[i] - half.as<float>()[i];
  add({middle, node.end, 2 * node.key + 1, node.depth + 1}, half, std::max(from, middle), to, sum);
}

Tensor BrownianTree::increment(double from, double to) const {
  const bool forward = from < to;
  const double a = rounded(std::clamp(std::min(from, to), start_, end_)), b = rounded(std::clamp(std::max(from, to), start_, end_));
  Tensor sum;
  if (a < b) add({start_, end_, 0, 0}, whole_, a, b, sum);
  if (!sum.defined()) return Tensor::zeros(shape_);
  if (!forward)
    for (float& w : sum.floats()) w = -w;
  return sum;
}

}  // namespace vivace
