#include "runtime/resize.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "ops/positions.h"
#include "runtime/kernel_call.h"
#include "runtime/plan_memory.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class Resizing {
 public:
  Resizing(const Plan& from, const Sizes& sizes, const Device& device, Plan& to) : from_(from), sizes_(sizes), device_(device), plan_(to) {}

  Refusal run() {
    plan_ = from_;
    if (Refusal failed = set_inputs()) return failed;
    if (Refusal failed = infer_types()) return failed;
    if (Refusal failed = place_parts()) return failed;
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program)
        if (Refusal failed = check_kernel(step)) return failed;
    plan_memory(plan_, device_);
    return std::nullopt;
  }

 private:
  PlanValue& value(int32_t v) { return plan_.values[static_cast<size_t>(v)]; }
  const Shape& shape_before(int32_t v) const { return from_.values[static_cast<size_t>(v)].type.shape; }

  Refusal check_symbol(const std::string& name, int64_t size, int64_t before) const {
    for (const PlanSymbol& symbol : from_.symbols) {
      if (std::ranges::count(symbol.names, name) == 0) continue;
      for (const std::string& other : symbol.names)
        if (const auto found = sizes_.find(other); found != sizes_.end() && found->second != size)
          return cat(name, " and ", other, " are one symbol, but ", size, " and ", found->second, " here");
      return std::nullopt;
    }
    if (size != before) return cat(name, " is ", before, " in this plan, and ", size, " here");
    return std::nullopt;
  }

  Refusal set_inputs() {
    for (const PlanPort& port : plan_.inputs)
      for (size_t i = 0; i < port.dims.size(); ++i) {
        const PlanDim& dim = port.dims[i];
        const auto given = sizes_.find(dim.name);
        if (dim.name.empty() || given == sizes_.end()) continue;
        int64_t& size = value(port.value).type.shape[i];
        if (Refusal failed = check_symbol(dim.name, given->second, size)) return failed;
        if (given->second % dim.multiple_of) return cat(dim.name, " is ", given->second, ", no multiple of ", dim.multiple_of);
        size = given->second;
      }
    return std::nullopt;
  }

  struct Producer {
    Op op{};
    const Attrs* attrs = nullptr;
    const std::vector<int32_t>* in = nullptr;  // nullptr: its type is what it was
    bool copy = false;
  };

  // Only what depends on an input can change.
  Refusal infer_types() {
    producers_.resize(plan_.values.size());
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program) producers_[static_cast<size_t>(step.out)] = {step.op, &step.attrs, &step.in, step.copy};
    for (const PlanView& view : plan_.views) producers_[static_cast<size_t>(view.out)] = {view.op, &view.attrs, &view.in};
    try {
      for (size_t v = 0; v < producers_.size(); ++v) infer_type(static_cast<int32_t>(v));
    } catch (const InternalError& error) {
      return error.what();
    }
    return std::nullopt;
  }

  // Values are in topological order but for copies, which follow all others: a value may need one behind it first.
  void infer_type(int32_t v) {
    const Producer p = std::exchange(producers_[static_cast<size_t>(v)], {});
    if (!p.in) return;
    std::vector<std::optional<TensorType>> inputs;
    for (int32_t in : *p.in) {
      if (in >= 0) infer_type(in);
      inputs.push_back(in < 0 ? std::nullopt : std::optional(value(in).type));
    }
    value(v).type = p.copy ? *inputs[0] : infer(p.op, *p.attrs, inputs, value(v).type);
  }

  // Rows with a pitch keep their columns; where slices and the parts of concats begin follows from the sizes.
  Refusal place_parts() {
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      const PlanValue& part = plan_.values[v];
      if (part.inside < 0 || !part.pitch) continue;
      const Shape& before = shape_before(static_cast<int32_t>(v));
      if (part.type.shape.back() != before.back() || value(part.inside).type.shape.back() != shape_before(part.inside).back())
        return cat("a slice ", to_string(before), " of ", to_string(shape_before(part.inside)), " would lie elsewhere");
    }
    views_.resize(plan_.values.size());
    for (const PlanView& view : plan_.views) views_[static_cast<size_t>(view.out)] = &view;
    for (const PlanView& view : plan_.views) {
      Refusal failed = view.op == Op::slice    ? place_slice(view)
                       : view.op == Op::concat ? place_in_concat(view.attrs, view.in, view.out)
                                               : std::nullopt;
      if (failed) return failed;
    }
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program)
        if (step.op == Op::concat)
          if (Refusal failed = place_in_concat(step.attrs, step.in, step.out)) return failed;
    return std::nullopt;
  }

  static size_t axis_of(const Attrs& attrs, const Shape& whole) {
    const auto rank = static_cast<int64_t>(whole.size());
    return static_cast<size_t>((attrs.integer("axis") + rank) % rank);
  }
  static Refusal refuse_apart(const Shape& whole, size_t axis) {
    if (is_outermost(whole, static_cast<int64_t>(axis))) return std::nullopt;
    return cat("parts of ", to_string(whole), " along axis ", axis, " would not lie in one piece");
  }
  // Between two entries along the axis, of columns within a row.
  static int64_t bytes_of_entry(const TensorType& whole, size_t axis) {
    const int64_t elements = axis + 1 == whole.shape.size() ? 1 : numel(whole.shape) / std::max<int64_t>(1, whole.shape[axis]);
    return elements * static_cast<int64_t>(dtype_size(whole.dtype));
  }

  Refusal place_slice(const PlanView& view) {
    const TensorType& whole = value(view.in[0]).type;
    PlanValue& part = value(view.out);
    const size_t axis = axis_of(view.attrs, whole.shape);
    if (!part.pitch)
      if (Refusal failed = refuse_apart(whole.shape, axis)) return failed;
    part.shift = slice_begin(view.attrs, whole.shape, part.type.shape, axis) * bytes_of_entry(whole, axis);
    return std::nullopt;
  }

  // The parts that their kernels write in their place.
  Refusal place_in_concat(const Attrs& attrs, const std::vector<int32_t>& in, int32_t out) {
    const TensorType& whole = value(out).type;
    const size_t axis = axis_of(attrs, whole.shape);
    int64_t shift = 0;
    for (int32_t part : in) {
      const int64_t bytes = value(part).type.shape[axis] * bytes_of_entry(whole, axis);
      if (PlanValue& made = value(written(part)); made.inside == out && !made.in_place) {
        if (axis + 1 < whole.shape.size())
          if (Refusal failed = refuse_apart(whole.shape, axis)) return failed;
        made.shift = shift;
      }
      shift += bytes;
    }
    return std::nullopt;
  }

  // What a kernel writes when `v` is that or a view of all of it.
  int32_t written(int32_t v) const {
    for (const PlanView* view = nullptr; (view = views_[static_cast<size_t>(v)]) && is_view(view->op);) v = view->in[0];
    return v;
  }

  Refusal check_kernel(const PlanStep& step) {
    if (step.copy) return std::nullopt;
    const KernelEntry* entry = device_.find(step.kernel);
    if (!entry) throw InternalError(cat("the plan asks for kernel ", step.kernel, ", which device ", device_.target().name, " lacks"));
    const Answer answer = entry->ask(kernel_call(plan_, step), target_);
    if (!answer.offer) return cat("kernel ", step.kernel, " in ", step.scope, ": ", answer.reason);
    if (!answer.offer->packed) return std::nullopt;
    const std::string& key = value(step.in[static_cast<size_t>(answer.offer->packed->input)]).key;
    const std::string prefix = packed_key(*answer.offer->packed, "");
    if (!key.starts_with(std::string_view(prefix).substr(0, prefix.size() - 1)))
      return cat("kernel ", step.kernel, " in ", step.scope, " would pack its weight otherwise");
    return std::nullopt;
  }

  const Plan& from_;
  const Sizes& sizes_;
  const Device& device_;
  const Target target_ = device_.target();
  Plan& plan_;
  std::vector<Producer> producers_;     // by value
  std::vector<const PlanView*> views_;  // by value
};

}  // namespace

Refusal resize(const Plan& plan, const Sizes& sizes, const Device& device, Plan& to) { return Resizing(plan, sizes, device, to).run(); }

Sizes sizes_of(const Plan& plan) {
  Sizes sizes;
  for (const PlanPort& port : plan.inputs)
    for (size_t i = 0; i < port.dims.size(); ++i)
      if (!port.dims[i].name.empty()) sizes[port.dims[i].name] = plan.values[static_cast<size_t>(port.value)].type.shape[i];
  return sizes;
}

}  // namespace vivace
