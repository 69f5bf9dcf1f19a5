// Own CUDA kernels, run on the host, against the oracle: the op's meaning in plain ops, in float64.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "../host/kernels.h"
#include "backends/ref/device.h"
#include "ops/builder.h"
#include "ops/decompose.h"
#include "vivace/generator.h"

namespace vivace::cuda {

// Normal values as the dtype has them.
inline Tensor draw(const Shape& shape, DType dtype, uint64_t seed, float scale = 1) {
  Tensor t = Generator(seed).randn(shape);
  for (float& x : t.floats()) x *= scale;
  return t.to(dtype);
}

// What the op makes of these inputs (undefined: absent), computed from their values as float32.
inline Tensor oracle(Op op, const std::vector<Tensor>& inputs, Attrs attrs = {}) {
  Builder b(DType::float32);
  std::vector<Value> values;
  std::vector<Tensor> given;
  for (const Tensor& t : inputs) {
    given.push_back(!t.defined() || t.dtype() == DType::int32 ? t : t.to(DType::float32));
    values.push_back(t.defined() ? b.input(std::to_string(values.size()), given.back().dtype(), t.shape()) : Value{});
  }
  b.output("y", b.emit(op, values, std::move(attrs)));
  const Graph graph = decompose_all(b.take());
  const auto stream = ref::device()->stream();
  std::vector<Tensor> results;
  for (const Node& node : graph.nodes) {
    if (node.op == Op::input) {
      results.push_back(given[std::stoul(node.attrs.text("name"))]);
      continue;
    }
    results.emplace_back(node.shape, node.dtype);
    KernelCall call{.op = node.op, .attrs = &node.attrs, .out = {.dtype = node.dtype, .shape = node.shape}};
    Buffers buffers{.out = results.back().data()};
    for (NodeId in : node.inputs) {
      if (in == kNone) {
        call.in.push_back({});
        buffers.in.push_back(nullptr);
        continue;
      }
      Tensor& t = results[static_cast<size_t>(in)];
      call.in.push_back(Operand{.dtype = t.dtype(), .shape = t.shape()});
      buffers.in.push_back(t.data());
    }
    for (const KernelEntry& entry : ref::device()->kernels())
      if (entry.op == node.op) entry.ask(call, {}).offer->bind(buffers)->run(*stream);
  }
  return results[static_cast<size_t>(graph.outputs[0].second)];
}

inline Tensor absolute(const Tensor& t) {
  if (!t.defined()) return t;
  Tensor y = t.to(DType::float32).clone();
  for (float& x : y.floats()) x = std::abs(x);
  return y;
}

// Runs `launch(seed)` in three orders of threads and blocks; `y` must come out the same, bit for bit.
template <class Run>
void run_in_any_order(Tensor& y, const Run& run) {
  std::vector<char> first;
  for (unsigned seed : {0u, 1u, 2u}) {
    std::memset(y.data(), 0xcb, y.bytes());
    run(seed);
    const char* bytes = static_cast<const char*>(y.data());
    if (seed == 0)
      first.assign(bytes, bytes + y.bytes());
    else
      ASSERT_EQ(std::memcmp(first.data(), bytes, y.bytes()), 0) << "depends on the order of threads, seed " << seed;
  }
}
template <class Arguments>
void run_in_any_order(Tensor& y, const Call<Arguments>& call) {
  ASSERT_LE(call.launch.shared, kMostShared);
  run_in_any_order(y, [&](unsigned seed) { host_cuda::run(call, seed); });
}

// Half a unit in the last place, relative.
inline double unit(DType dtype) { return dtype == DType::float32 ? 0x1p-24 : dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11; }

// One rounding to y's dtype, and float32's errors: `error(i)`, absolute.
template <class Error>
void expect_close(const Tensor& y, const Tensor& wanted, const Error& error) {
  ASSERT_EQ(y.numel(), wanted.numel());
  const Tensor got = y.to(DType::float32);
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double w = wanted.floats()[static_cast<size_t>(i)], g = got.floats()[static_cast<size_t>(i)];
    ASSERT_NEAR(g, w, unit(y.dtype()) * std::abs(w) + 0x1p-24 + error(i)) << "element " << i;
  }
}
inline void expect_close(const Tensor& y, const Tensor& wanted, double error) {
  expect_close(y, wanted, [error](int64_t) { return error; });
}

}  // namespace vivace::cuda
