// What a device offers: kernels, in order of preference an op, each of which answers a call with an offer, or says why not.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/stop.h"
#include "ir/graph.h"
#include "ir/target.h"
#include "ops/infer.h"
#include "runtime/kernel_traits.h"
#include "runtime/memory.h"
#include "runtime/tuning.h"

namespace vivace {

class Stream;  // device.h

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

// A kernel with everything fixed: run() does no shape work, allocation or look-up. Stream::launch() runs it, now or later.
class BoundKernel {
 public:
  virtual ~BoundKernel() = default;
  virtual void run(Stream& stream) noexcept = 0;
};

using Refusal = std::optional<std::string>;  // nullopt: accepted

// A constant input that a kernel wants in a layout of its own.
struct PackedForm {
  int input = -1;
  int scales = -1;  // the constant input that the packed form holds too; -1: none
  size_t bytes = 0;
  std::string key;       // equal texts: equal packed forms of equal constants
  bool by_size = false;  // depends on the activations' sizes too
};

// A kernel for one call, with everything decided. Immutable; sessions of a plan share it.
class Offer {
 public:
  virtual ~Offer() = default;

  size_t workspace_bytes = 0;
  std::optional<PackedForm> packed;

  // Makes the packed form, as a kernel of `stream`. `scales`: of the input packed->scales, nullptr without one.
  virtual void pack(const void* source, const void* scales, void* to, Stream& stream) const;
  virtual std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const = 0;
  // The parameters of the call, and settings of them that autotuning tries (tuning texts) beside the default.
  virtual std::vector<TuningParameter> parameters() const { return {}; }
  virtual std::vector<std::string> variants() const { return {}; }
};

// An offer, or why there is none.
struct Answer {
  template <std::derived_from<Offer> T>
  Answer(std::unique_ptr<T> offer) : offer(std::move(offer)) {}
  Answer(std::string reason) : reason(std::move(reason)) {}
  Answer(const char* reason) : reason(reason) {}

  std::unique_ptr<const Offer> offer;
  std::string reason;
};

// An offer that keeps the call and binds by a function of it: of kernels with nothing to decide before they have their buffers.
using BindFunction = std::function<std::unique_ptr<BoundKernel>(const KernelCall&, const Buffers&)>;
std::unique_ptr<const Offer> call_offer(const KernelCall& call, BindFunction bind, size_t workspace_bytes = 0);

struct KernelEntry {
  std::string name;
  Op op{};
  // The one question to a kernel. The answer may not look at anything but the call and the target, and keeps nothing of the call's attributes by
  // reference.
  std::function<Answer(const KernelCall&, const Target&)> ask;
  bool strided_in = false;         // reads inputs with a pitch
  bool strided_out = false;        // writes an output with a pitch
  bool in_place = false;           // the output may be input 0's memory (same type)
  Memory memory = Memory::device;  // host, on a device that does not share it: a graph break, which packs nothing and takes dense operands of its own
  bool plain = false;              // right but slow: autotuning does not try it
  uint8_t traits = 0;              // KernelTrait
  std::string_view kind{};         // of attention: "int8", "flash", "efficient" or "math", among which sdpa_kernel chooses
};

// What a packed constant is, as text: equal texts, equal bytes. `source` is the text of the constant it is made from.
inline std::string packed_key(const PackedForm& form, const std::string& source) { return "pack " + form.key + '{' + source + '}'; }

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
