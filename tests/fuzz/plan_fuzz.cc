// Plans from files: any bytes give a plan that passes every check or a UserError, and such a plan runs, resized too, without leaving its buffers, or
// is refused by a kernel.
// The first byte chooses: the rest is a whole file, or what a checksum that fits is put before, or changes to a good plan.
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/device.h"
#include "compiler/compile.h"
#include "runtime/plan_file.h"
#include "runtime/resize.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace {

using namespace vivace;

constexpr size_t kHeaderBytes = 24;
// Plans beyond these are right or wrong as small ones are, but take time and memory.
constexpr int64_t kMostBytes = 1 << 20, kMostElements = 1 << 12;

constexpr const char* kGraph = R"(%0 = input(dims="batch,tokens,_", name="x") : float32[2, 4, 16]
%1 = weight(name="gamma") : float32[16]
%2 = weight(name="beta") : float32[16]
%3 = layer_norm(%0, %1, %2, eps=1e-05) : float32[2, 4, 16]
%4 = weight(name="q") : float32[16, 16]
%5 = linear(%3, %4) : float32[2, 4, 16]
%6 = weight(name="k") : float16[16, 16]
%7 = linear(%3, %6) : float32[2, 4, 16]
%8 = weight(name="v") : float32[16, 16]
%9 = linear(%3, %8) : float32[2, 4, 16]
%10 = attention(%5, %7, %9, causal=0, heads=2, scale=0.35) : float32[2, 4, 16]
%11 = add(%10, %0) : float32[2, 4, 16]
%12 = reshape(%11, shape=[0, 0, 2, 8]) : float32[2, 4, 2, 8]
%13 = weight(name="c") : float32[4, 8, 1, 1]
%14 = conv2d(%12, %13, act="silu", padding=[0, 0, 0, 0], stride=1) : float32[2, 4, 2, 4]
%15 = quick_gelu(%11) : float32[2, 4, 16]
%16 = affine(%15, scale=0.5, shift=-1.5) : float32[2, 4, 16]
return y=%14, z=%11, chain=%16
)";

const std::string& good_plan() {
  static const std::string file =
      serialize_plan(compile(parse_graph(kGraph), *cpu::device(), {.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false}));
  return file;
}

void seal(std::string& file) {
  const uint64_t checksum = XXH3_64bits(file.data() + kHeaderBytes, file.size() - kHeaderBytes);
  std::memcpy(file.data() + 16, &checksum, sizeof(checksum));
}

bool is_small(const Plan& plan) {
  for (const PlanValue& value : plan.values)
    if (numel(value.type.shape) > kMostElements) return false;
  return plan.arena_bytes <= kMostBytes && plan.setup.size() + plan.step.size() < 100;
}

void run(const Plan& plan) {
  if (!is_small(plan)) return;
  std::map<std::string, std::vector<char>> tensors;
  ConstantStore store(cpu::device());
  // A tensor has one size, which its first reader says; a component compares what a plan says with its checkpoint.
  const WeightSource weights{.find = [&](const std::string& name) -> WeightBytes {
                               int64_t bytes = 0;
                               for (const PlanValue& v : plan.values)
                                 if (v.where == PlanValue::Where::weight && v.key == name)
                                   bytes = std::max(bytes, numel(v.type.shape) * static_cast<int64_t>(dtype_size(v.type.dtype)));
                               return {DType::float32, tensors.emplace(name, std::vector<char>(static_cast<size_t>(bytes))).first->second.data()};
                             },
                             .release = [](const std::string&) {}};
  Request request;
  Session session(std::make_shared<const Plan>(plan), *cpu::device(), store, weights, request);
  for (const PlanPort& port : plan.inputs) {
    Tensor input = session.input(port.name).host;
    std::memset(input.data(), 0, input.bytes());
  }
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
}

void read(const std::string& file) {
  try {
    const Plan plan = parse_plan(std::as_bytes(std::span(file)), "fuzz", *cpu::device());
    run(plan);
    Plan resized;
    if (!resize(plan, {{"batch", 3}, {"tokens", 5}}, *cpu::device(), resized)) run(resized);
  } catch (const UserError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  } catch (const InternalError&) {  // an attribute that its kernel does not know, found as it is bound
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      read(rest);
      break;
    case 1: {
      std::string file = good_plan().substr(0, kHeaderBytes) + rest;
      seal(file);
      read(file);
      break;
    }
    default: {  // three bytes a change: where, and the new value
      std::string file = good_plan();
      for (size_t i = 0; i + 2 < rest.size(); i += 3) {
        const size_t at = static_cast<uint8_t>(rest[i]) * 256u + static_cast<uint8_t>(rest[i + 1]);
        file[kHeaderBytes + at % (file.size() - kHeaderBytes)] = rest[i + 2];
      }
      seal(file);
      read(file);
    }
  }
  return 0;
}
