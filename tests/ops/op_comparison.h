// The comparison of a kernel with an op's own meaning: decomposed into plain ops and run by the oracle in float64, from the same inputs, already
// rounded to the dtype.
#pragma once

#include <cmath>

#include "../models/golden.h"
#include "backends/ref/device.h"
#include "op_cases.h"
#include "ops/decompose.h"

namespace vivace {

// What a case gives, and what it may be off.
class WantedResult {
 public:
  WantedResult(const OpCase& item, DType dtype) : item_(item), dtype_(dtype) {
    const Graph graph = this->graph();
    uint64_t seed = 1;
    for (const Node& node : graph.nodes) {
      if (node.op != Op::input) continue;
      Tensor t = Generator(seed++).randn(node.shape).to(node.dtype).to(DType::float32);
      inputs_[node.attrs.text("name")] = t.rank() == 4 ? nhwc_to_nchw(t) : t;
    }
    want_ = golden::run(decompose_all(graph), ref::device(), {}, inputs_, "", 0).at("y");
    for (float v : want_.floats()) rms_ += static_cast<double>(v) * v;
    rms_ = std::sqrt(rms_ / static_cast<double>(want_.numel()));
  }

  Graph graph() const {
    Builder b(dtype_);
    b.output("y", item_.build(b));
    return b.take();
  }
  // What the dtype rounds to.
  double unit() const { return dtype_ == DType::float32 ? 0x1p-24 : dtype_ == DType::float16 ? 0x1p-11 : 0x1p-8; }
  // Whether the device's first choice is this kernel; then its result is compared. `unit`: what it rounds factors to.
  bool check(const std::shared_ptr<Device>& device, std::string_view kernel, double unit) const {
    const Plan plan = compile(graph(), *device, {});
    if (std::ranges::none_of(plan.step, [&](const PlanStep& s) { return s.kernel == kernel; })) return false;
    // One rounding of each narrow factor and of the result, plus float32 sums; five deviations of a random walk over the terms.
    const double tolerance = 5 * (3 * unit + std::sqrt(item_.terms) * 0x1p-24);
    const Tensor got = golden::run(graph(), device, {}, inputs_, "", 0).at("y");
    for (int64_t i = 0; i < want_.numel(); ++i) {
      const double w = want_.floats()[i], allowed = tolerance * std::max(rms_, std::abs(w)), off = std::abs(got.floats()[i] - w);
      if (off <= allowed) continue;
      ADD_FAILURE() << kernel << ", element " << i << ": " << got.floats()[i] << " instead of " << w << ", allowed are " << allowed;
      break;
    }
    return true;
  }

 private:
  const OpCase& item_;
  const DType dtype_;
  golden::Tensors inputs_;
  Tensor want_;
  double rms_ = 0;
};

// The case's name and dtype, for a parameterised test.
inline std::string case_name(const testing::TestParamInfo<std::tuple<OpCase, DType>>& info) {
  return std::string(std::get<0>(info.param).name) + "_" + std::string(dtype_name(std::get<1>(info.param)));
}

// The kernels of a device with this one before all others.
inline std::vector<KernelEntry> with_first(const Device& device, const KernelEntry& first) {
  std::vector<KernelEntry> kernels{first};
  std::ranges::copy_if(device.kernels(), std::back_inserter(kernels), [&](const KernelEntry& k) { return k.name != first.name; });
  return kernels;
}

}  // namespace vivace
