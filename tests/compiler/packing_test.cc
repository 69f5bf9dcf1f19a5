// What kernels pack, byte for byte, against data/packing.txt: a line a kernel and instruction set, "level kernel(key) hash". A package outlives the
// build that wrote it while these stay. Where one changes, raise kPackingVersion (components/package.h) and make the file anew, on a machine that has
// all levels it lists: VIVACE_WRITE_PACKING=1 tests/compiler/test_compiler --gtest_filter='Packing.*'
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "backends/cpu/isa.h"
#include "backends/devices.h"
#include "base/files.h"
#include "base/hash.h"
#include "components/package.h"

namespace vivace {
namespace {

struct Case {
  Op op;
  DType activations, weight;
  Attrs attrs;
  Shape in, weights, out;
};

std::vector<Case> cases() {
  std::vector<Case> list;
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    for (const Attrs& attrs : {Attrs{}, Attrs{{"strassen_error", 1.}, {"int16_error", 1.}}}) {
      list.push_back({Op::linear, dtype, dtype, attrs, {256, 192}, {320, 192}, {256, 320}});
      list.push_back({Op::geglu_linear, dtype, dtype, attrs, {256, 192}, {320, 192}, {256, 160}});
    }
    list.push_back({Op::linear, dtype, DType::int8, {{"compute", std::string("int8_dynamic")}}, {256, 192}, {320, 192}, {256, 320}});
    for (const Attrs& attrs : {Attrs{}, Attrs{{"winograd_error", 1.}, {"int16_error", 1.}}}) {
      Attrs convolution = attrs;
      convolution.set("padding", std::vector<int64_t>{1, 1, 1, 1}), convolution.set("stride", int64_t{1});
      list.push_back({Op::conv2d, dtype, dtype, convolution, {1, 16, 16, 64}, {96, 64, 3, 3}, {1, 16, 16, 96}});
      Attrs frames = attrs;
      frames.set("padding", std::vector<int64_t>{1, 1, 1, 1});
      list.push_back({Op::conv3d, dtype, dtype, frames, {1, 4, 16, 16, 72}, {96, 72, 3, 3, 3}, {1, 2, 16, 16, 96}});
      list.push_back({Op::upsample_conv2d, dtype, dtype, attrs, {1, 8, 8, 64}, {96, 64, 3, 3}, {1, 16, 16, 96}});
    }
  }
  return list;
}

// Some bytes that are numbers of about 1 in every dtype.
std::vector<uint8_t> some_weights(const Shape& shape, DType dtype) {
  Tensor values(shape, DType::float32);
  for (int64_t i = 0; i < values.numel(); ++i) values.as<float>()[i] = static_cast<float>(i * 37 % 251 - 125) / 64.f;
  std::vector<uint8_t> bytes(static_cast<size_t>(values.numel()) * dtype_size(dtype));
  if (dtype == DType::int8)
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 251);
  else
    std::memcpy(bytes.data(), values.to(dtype).data(), bytes.size());
  return bytes;
}

// Of this level: "kernel(key)" -> hash.
std::map<std::string, std::string> packed() {
  const auto device = open_device();
  const auto stream = device->stream();
  std::map<std::string, std::string> found;
  for (const Case& c : cases()) {
    const std::vector<uint8_t> weights = some_weights(c.weights, c.weight);
    const std::vector<float> scales(static_cast<size_t>(c.weights[0]), 0.01f);
    KernelCall call{.op = c.op, .attrs = &c.attrs, .in = {}, .out = {c.activations, c.out}};
    call.in = {Operand{c.activations, c.in}, Operand{c.weight, c.weights, 0, true}};
    if (c.weight == DType::int8) call.in.resize(4), call.in.push_back(Operand{DType::float32, {c.weights[0]}, 0, true});
    for (const KernelEntry& entry : device->kernels()) {
      if (entry.op != c.op || entry.memory == Memory::host) continue;
      const Answer answer = entry.ask(call, device->target());
      if (!answer.offer || !answer.offer->packed) continue;
      const size_t bytes = answer.offer->packed->bytes;
      const std::shared_ptr<void> memory = device->allocate(bytes);
      std::memset(memory.get(), 0, bytes);
      answer.offer->pack(weights.data(), call.in.size() > 4 ? scales.data() : nullptr, memory.get(), *stream);
      const std::string key = answer.offer->packed->key;  // kernels that pack alike have one
      found[entry.name + key.substr(key.find('('))] = to_string(hash128(memory.get(), bytes));
    }
  }
  return found;
}

TEST(Packing, IsThatOfItsVersion) {
  EXPECT_EQ(kPackingVersion, 2) << "a new version: make data/packing.txt anew, and this number";
  const std::string file = VIVACE_TEST_DATA "/packing.txt";
  const cpu::Isa highest = cpu::isa();
  const bool write = std::getenv("VIVACE_WRITE_PACKING");
  std::map<std::string, std::string> known;
  if (!write)
    for (const std::string& line : read_lines(file)) known[line.substr(0, line.rfind(' '))] = line.substr(line.rfind(' ') + 1);
  std::ofstream out;
  if (write) out.open(file);
  int compared = 0;
  for (int level = static_cast<int>(cpu::kHighestIsa); level >= 0; --level) {
    cpu::limit_isa(static_cast<cpu::Isa>(level));
    if (static_cast<int>(cpu::isa()) != level) continue;  // not this machine's
    for (const auto& [kernel, hash] : packed()) {
      const std::string name = std::string(cpu::isa_name(cpu::isa())) + ' ' + kernel;
      if (write) out << name << ' ' << hash << '\n';
      if (!known.contains(name)) continue;  // of a level that the file does not list, or a new kernel, which no package has
      ++compared;
      EXPECT_EQ(hash, known[name]) << name << " packs otherwise than packages of version " << kPackingVersion << " hold it";
    }
  }
  cpu::limit_isa(cpu::kHighestIsa);
  if (write) return;
  EXPECT_GT(compared, highest >= cpu::Isa::avx2 ? 20 : 0);
}

}  // namespace
}  // namespace vivace
