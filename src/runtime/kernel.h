// What a backend offers: kernels, in order of preference an op, each of which accepts a call or says why not.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ir/graph.h"
#include "ops/infer.h"
#include "runtime/kernel_traits.h"
#include "runtime/memory.h"
#include "runtime/tuning.h"

namespace vivace {

// One side of a call. Rows are all dimensions but the last; `pitch` elements lie between the starts of two rows (0: the last dimension's size).
struct Operand {
  DType dtype = DType::float32;
  Shape shape;
  int64_t pitch = 0;
  bool constant = false;  // known when the plan is prepared

  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const { return shape.empty() ? 1 : numel(shape) / std::max<int64_t>(1, shape.back()); }
  int64_t row_pitch() const { return pitch ? pitch : columns(); }
};

struct KernelCall {
  Op op{};
  const Attrs* attrs = nullptr;
  std::vector<std::optional<Operand>> in;
  Operand out;
  std::string_view tuning{};  // the kernel's parameters (tuning.h), found by autotuning; what is packed does not depend on them

  bool has(size_t i) const { return i < in.size() && in[i].has_value(); }
};

// Where a kernel says that an activation it had to quantise held a NaN or an infinity, which no 8 bits can pass on. The first of a run stays.
struct BadValue {
  int32_t* first = nullptr;  // nullptr: nobody asks
  int32_t step = 0;          // this kernel's number
  void report() const {
    if (first && *first < 0) *first = step;
  }
};

struct Buffers {
  std::vector<void*> in;  // nullptr for an absent input; the packed form for a packed one
  void* out = nullptr;
  void* workspace = nullptr;
  BadValue bad_value{};
};

class Stream;  // device.h

// A kernel with everything fixed: run() does no shape work, allocation or look-up. Stream::launch() runs it, now or later.
class BoundKernel {
 public:
  virtual ~BoundKernel() = default;
  virtual void run(Stream& stream) noexcept = 0;
};

using Refusal = std::optional<std::string>;  // nullopt: accepted

struct KernelEntry {
  std::string_view name;
  Op op;
  Refusal (*refuse)(const KernelCall&);
  std::unique_ptr<BoundKernel> (*bind)(const KernelCall&, const Buffers&);
  size_t (*workspace_bytes)(const KernelCall&) = nullptr;
  // A constant input that the kernel wants in a layout of its own: its index, the bytes it takes, how it is made, and a text that
  // together with the constant tells whether two packed forms are the same.
  int packed_input = -1;
  size_t (*packed_bytes)(const KernelCall&) = nullptr;
  // `scales`: the constant input `packed_scales`, which the packed form holds too; nullptr where the call has none.
  void (*pack)(const KernelCall&, const void* source, const void* scales, void* packed) = nullptr;
  std::string (*pack_key)(const KernelCall&) = nullptr;
  std::string_view packed_as;  // the kernel that packs alike, so that both read one packed form; empty: this one
  int packed_scales = -1;
  bool packs_by_size = false;      // the packed form depends on the activations' sizes too
  bool strided_in = false;         // reads inputs with a pitch
  bool strided_out = false;        // writes an output with a pitch
  bool in_place = false;           // the output may be input 0's memory (same type)
  Memory memory = Memory::device;  // host, on a device that does not share it: a graph break, which packs nothing and takes dense operands of its own
  bool plain = false;              // right but slow: autotuning does not try it
  uint8_t traits = 0;              // KernelTrait
  std::string_view kind{};         // of attention: "int8", "flash", "efficient" or "math", among which sdpa_kernel chooses
  // The parameters of a call, and settings of them that autotuning tries (tuning texts) beside the default.
  std::vector<TuningParameter> (*parameters)(const KernelCall&) = nullptr;
  std::vector<std::string> (*variants)(const KernelCall&) = nullptr;
};

// What a packed constant is, as text: equal texts, equal bytes. `source` is the text of the constant it is made from.
inline std::string packed_key(const KernelEntry& entry, const KernelCall& call, const std::string& source) {
  return "pack " + std::string(entry.packed_as.empty() ? entry.name : entry.packed_as) + '(' + entry.pack_key(call) + "){" + source + '}';
}

// A BoundKernel out of a callable, which takes the stream where it has a use for it.
template <class Fn>
std::unique_ptr<BoundKernel> bound(Fn fn) {
  struct Bound final : BoundKernel {
    explicit Bound(Fn f) : fn(std::move(f)) {}
    void run(Stream& stream) noexcept override {
      if constexpr (std::is_invocable_v<Fn&, Stream&>)
        fn(stream);
      else
        fn();
    }
    Fn fn;
  };
  return std::make_unique<Bound>(std::move(fn));
}

}  // namespace vivace
