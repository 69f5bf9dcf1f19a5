// The GPU's kernel entries, a family a file; entries() puts them in order.
#pragma once

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/driver.h"
#include "backends/cuda/kernels/arguments.cuh"
#include "base/log.h"
#include "runtime/device.h"

namespace vivace::cuda {

// In order of preference an op. They keep the driver by reference.
std::vector<KernelEntry> entries(Driver& driver);

using Entries = std::vector<KernelEntry>;
void add_norms(Driver& driver, Entries& list);
void add_elementwise(Driver& driver, Entries& list);
void add_movement(Driver& driver, Entries& list);
void add_library_gemms(Driver& driver, Entries& list);
void add_library_gemms_apart(Driver& driver, Entries& list);
void add_linears(Driver& driver, Entries& list);
void add_narrow_linears(Driver& driver, Entries& list);
void add_library_convolutions(Driver& driver, Entries& list);
void add_convolutions(Driver& driver, Entries& list);
void add_library_convolutions_behind(Driver& driver, Entries& list);
void add_attention(Driver& driver, Entries& list);
void add_library_attention(Driver& driver, Entries& list);
void add_math_attention(Driver& driver, Entries& list);

// Kernels with their arguments, launched one after the other.
class Launches final : public BoundKernel {
 public:
  explicit Launches(Driver& driver) : driver_(driver) {}
  template <class Arguments>
  Launches& add(const Call<Arguments>& call) {
    return add(driver_.load(call.launch), call.launch.grid, call.launch.block, call.launch.shared, &call.arguments, sizeof(Arguments));
  }
  Launches& add(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes);
  void run(Stream& stream) noexcept override;

 private:
  struct One {
    DriverFunction* function;
    unsigned grid[3], block, shared;
    std::vector<char> arguments;
  };
  Driver& driver_;
  std::vector<One> all_;
};

template <class... Arguments>
std::unique_ptr<BoundKernel> launches(Driver& driver, const Call<Arguments>&... calls) {
  auto all = std::make_unique<Launches>(driver);
  (all->add(calls), ...);
  return all;
}

// An entry that decides nothing before it has its buffers.
using Bind = std::unique_ptr<BoundKernel> (*)(Driver&, const KernelCall&, const Buffers&);
using Refuse = Refusal (*)(const KernelCall&);
using WorkspaceBytes = size_t (*)(const KernelCall&);
struct Row {
  std::string_view name;
  Op op;
  Bind bind;
  Refuse refuse = nullptr;
  WorkspaceBytes workspace = nullptr;
  bool strided = false;  // reads and writes with a pitch
  bool in_place = false;
};
KernelEntry entry(Driver& driver, const Row& row);

// Of a tile, or of an elementwise op (backends/tile_layout.h).
std::unique_ptr<BoundKernel> bind_tile(Driver& driver, const KernelCall& call, const Buffers& buffers);

// float32, bfloat16 or float16: what the kernels take as activations.
bool is_activation_dtype(DType dtype);
// Refuses unless every present input listed and the output are activations; the output may be quantised rows where the op says so.
Refusal refuse_unless_activations(const KernelCall& call, std::initializer_list<size_t> inputs);
// By the name that ops have for it; kIdentity for "".
Activation activation_of(const std::string& name);
// Of what a library has built (blas.h, dnn.h), the algorithm that a call's tuning names, or the last that there is before it.
template <class Built>
int algorithm_of(const Built& built, const KernelCall& call) {
  int algorithm = std::max(0, tuning_value(call.tuning, "algorithm", 0));
  while (algorithm > 0 && !built.has(algorithm)) --algorithm;
  return algorithm;
}
template <class Built>
std::vector<std::string> other_algorithms(const Built& built) {
  std::vector<std::string> texts;
  for (int i = 1; built.has(i); ++i) texts.push_back(cat("algorithm=", i));
  return texts;
}
// Of what lies one behind the other in a workspace or in a packed weight.
inline size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
// Bytes between rows, and where the scales of quantised rows lie (op_list.inc).
long long row_pitch(const Operand& operand);
float* scales_of(const Operand& operand, void* data);

}  // namespace vivace::cuda
