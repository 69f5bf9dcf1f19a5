// A device with three kernels, and plans of them.
#pragma once

#include <memory>
#include <vector>

#include "backends/host_device.h"
#include "runtime/plan_memory.h"

namespace vivace {

class ToyDevice final : public HostDevice {
 public:
  Target target() const override { return {.name = "toy", .text = "toy"}; }
  std::span<const KernelEntry> kernels() const override { return kernels_; }

 private:
  template <float (*function)(float, float)>
  static std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
    return bound([a = static_cast<const float*>(buffers.in[0]), b = static_cast<const float*>(buffers.in.back()),
                  y = static_cast<float*>(buffers.out), count = numel(call.out.shape)] {
      for (int64_t i = 0; i < count; ++i) y[i] = function(a[i], b[i]);
    });
  }
  template <float (*function)(float, float)>
  static KernelEntry entry(const char* name, Op op) {
    return {.name = name, .op = op, .ask = [](const KernelCall& call, const Target&) -> Answer { return call_offer(call, bind<function>); }};
  }
  static float twice(float a, float) { return 2 * a; }
  static float sum(float a, float b) { return a + b; }
  static float product(float a, float b) { return a * b; }

  const std::vector<KernelEntry> kernels_{entry<twice>("twice", Op::affine), entry<sum>("sum", Op::add), entry<product>("product", Op::mul)};
};

// [rows, columns] each: (x + 2 w) x, where w is a weight, and 2 w is prepared.
inline std::shared_ptr<const Plan> toy_plan(const Device& device, int64_t rows, int64_t columns) {
  using Where = PlanValue::Where;
  Plan plan;
  plan.backend = device.target().name;
  const TensorType type{DType::float32, {rows, columns}};
  plan.values = {{.type = type, .where = Where::weight, .phase = Phase::prepare, .key = "w"},
                 {.type = type, .where = Where::constant, .phase = Phase::prepare, .key = "twice w"},
                 {.type = type},
                 {.type = type},
                 {.type = type}};
  plan.prepare = {{.kernel = "twice", .op = Op::affine, .in = {0}, .out = 1}};
  plan.step = {{.kernel = "sum", .op = Op::add, .in = {2, 1}, .out = 3}, {.kernel = "product", .op = Op::mul, .in = {3, 2}, .out = 4}};
  plan.inputs = {{"x", 2, {}, ""}};
  plan.outputs = {{"y", 4, {}, ""}};
  plan_memory(plan, device);
  return std::make_shared<const Plan>(std::move(plan));
}

}  // namespace vivace
