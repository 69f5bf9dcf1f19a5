// What a run relies on, checked for a plan that comes from a file.
#include <algorithm>
#include <vector>

#include "base/log.h"
#include "ir/op_attrs.h"
#include "ops/infer.h"
#include "ops/positions.h"
#include "runtime/kernel_call.h"
#include "runtime/plan_file.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Shapes beyond this are damage: their sizes in bytes would leave 64 bits.
constexpr int64_t kLargest = int64_t{1} << 48;

class PlanCheck {
 public:
  PlanCheck(const Plan& plan, const std::string& name, const Device& device)
      : plan_(plan),
        name_(name),
        device_(device),
        view_(plan.values.size()),
        concat_(plan.values.size()),
        packed_(plan.values.size()),
        made_(plan.values.size()) {}

  void run() {
    if (const std::string name = device_.target().name; plan_.backend != name) fail(cat("is for device ", plan_.backend, ", not ", name));
    try {
      check_all();
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {  // a shape rule or a kernel that cannot make sense of it
      fail(cat("damaged: ", error.what()));
    }
  }

 private:
  void check_all() {
    require(plan_.arena_bytes >= 0 && plan_.arena_bytes < kLargest && plan_.host_arena_bytes >= 0 && plan_.host_arena_bytes < kLargest &&
                plan_.constant_bytes >= 0,
            "the arena's size");
    for (const PlanValue& value : plan_.values) check(value);
    for (const PlanView& view : plan_.views) check(view);
    for (const auto* program : {&plan_.setup, &plan_.step})
      for (const PlanStep& step : *program)
        if (step.op == Op::concat && exists(step.out)) concat_[static_cast<size_t>(step.out)] = {&step.attrs, &step.in};
    for (const PlanValue& value : plan_.values) check_owner(value);
    for (const PlanStep& step : plan_.prepare)
      if (step.pack && exists(step.out)) packed_[static_cast<size_t>(step.out)] = 1;
    for (const PlanPort& port : plan_.inputs) check_input(port);
    for (const PlanSymbol& symbol : plan_.symbols) require(!symbol.names.empty(), "a symbol");
    for (Phase phase : {Phase::prepare, Phase::setup, Phase::step})
      for (const PlanStep& step : plan_.program(phase)) {
        check(step, phase);
        made_[static_cast<size_t>(step.out)] = 1;
      }
    for (const PlanPort& port : plan_.outputs) {
      require(exists(port.value) && ready(port.value) && !packed_[static_cast<size_t>(port.value)] && at(port.value).pitch == 0 &&
                  at(port.value).memory == Memory::device,
              "an output");
      check_place(port.value);
    }
    for (const PlanPort& port : plan_.inputs) {
      if (port.state.empty()) continue;
      const auto next = std::ranges::find(plan_.outputs, port.state, &PlanPort::name);
      require(next != plan_.outputs.end() && in_arena(next->value) && at(next->value).type == at(port.value).type &&
                  at(next->value).memory == Memory::device && at(port.value).memory == Memory::device,
              "a state");
    }
  }

  [[noreturn]] void fail(const std::string& what) const { throw UserError(cat(name_, ": ", what, ": make it again")); }
  void require(bool good, const char* what) const {
    if (!good) fail(cat("damaged: ", what, " is out of range"));
  }
  bool exists(int32_t value) const { return value >= 0 && value < static_cast<int32_t>(plan_.values.size()); }
  const PlanValue& at(int32_t value) const { return plan_.values[static_cast<size_t>(value)]; }
  size_t index_of(const PlanValue& value) const { return static_cast<size_t>(&value - plan_.values.data()); }
  bool in_arena(int32_t value) const { return at(value).where == PlanValue::Where::arena; }
  // Whether what has run so far has made it.
  bool ready(int32_t value) const {
    if (const PlanView* view = view_[static_cast<size_t>(value)]) {
      if (view->op != Op::concat) return ready(view->in[0]);
      return std::ranges::all_of(view->in, [&](int32_t part) { return ready(part); });
    }
    return at(value).where == PlanValue::Where::weight || made_[static_cast<size_t>(value)];
  }
  // What a kernel writes when `value` is that or a view of all of it. A slice is none: a concat copies one, though it may be of a part that lies in
  // it.
  int32_t written(int32_t value) const {
    for (const PlanView* view = nullptr; (view = view_[static_cast<size_t>(value)]) && is_view(view->op);) value = view->in[0];
    return value;
  }

  void check(const PlanValue& value) const {
    int64_t elements = 1;
    for (int64_t n : value.type.shape) {
      require(n > 0 && n < kLargest, "a shape");  // kernels divide by sizes
      require(elements < kLargest / n, "a shape");
      elements *= n;
    }
    const auto index = static_cast<int32_t>(index_of(value));
    require(in_arena(index) == (value.phase != Phase::prepare), "a value's place");
    require(value.memory == Memory::device || (value.memory == Memory::host && value.where != PlanValue::Where::weight && value.inside == -1),
            "a value's memory");
    require(value.inside < 0 || !exists(value.inside) || at(value.inside).memory == value.memory, "a value's memory");
    // Before this one, or without an owner of its own (a concat that parts are written into), so that following owners ends.
    require(value.inside == -1 ||
                (exists(value.inside) && in_arena(index) && in_arena(value.inside) && (value.inside < index || at(value.inside).inside == -1)),
            "a buffer's owner");
    require(value.inside >= 0 || (value.pitch == 0 && value.shift == 0), "a buffer's owner");
    const int64_t columns = value.type.shape.empty() ? 1 : value.type.shape.back();
    require(value.pitch == 0 || (value.pitch >= columns && value.pitch < kLargest), "a pitch");
    require(value.pitch == 0 || elements / columns < kLargest / value.pitch, "a pitch");
  }

  // A view is the whole memory of in[0], a slice some columns of it or some of its rows, a concat its parts side by side: then this holds after a
  // resize too.
  void check(const PlanView& view) {
    require(exists(view.out) && !view_[static_cast<size_t>(view.out)] && (is_view(view.op) || view.op == Op::slice || view.op == Op::concat),
            "a view");
    const OpRow& row = op_row(view.op);
    const auto count = static_cast<int>(view.in.size());
    require(count >= std::max(1, row.min_inputs) && (row.max_inputs < 0 || count <= row.max_inputs), "a view's inputs");
    for (int32_t in : view.in) require(exists(in) && in < view.out, "a view's inputs");
    const PlanValue &part = at(view.out), &whole = at(view.in[0]);
    check_types(view.op, view.attrs, view.in, view.out, "a view");
    view_[static_cast<size_t>(view.out)] = &view;
    if (view.op == Op::concat) {
      concat_[static_cast<size_t>(view.out)] = {&view.attrs, &view.in};
      return require(in_arena(view.out) && part.inside == -1, "a concat's memory");
    }
    require(part.inside == view.in[0] && !part.in_place, "a view's memory");
    const bool same_rows = part.type.shape.empty() || whole.type.shape.empty() || part.type.shape.back() == whole.type.shape.back();
    if (is_view(view.op)) return require(part.pitch == whole.pitch && part.shift == 0 && (part.pitch == 0 || same_rows), "a view's memory");
    require(whole.pitch == 0, "a slice's memory");
    const Shape& shape = whole.type.shape;
    const int64_t axis = checked_axis(view.attrs, shape, "a slice's memory");
    const bool columns = axis + 1 == static_cast<int64_t>(shape.size());
    require((columns && part.pitch == shape.back()) || (part.pitch == 0 && is_outermost(shape, axis)), "a slice's memory");
    const int64_t begin = slice_begin(view.attrs, shape, part.type.shape, static_cast<size_t>(axis));
    require(begin >= 0 && begin + part.type.shape[static_cast<size_t>(axis)] <= shape[static_cast<size_t>(axis)], "a slice's memory");
    require(part.shift == begin * bytes_of_entry(whole.type, axis), "a slice's memory");
  }

  // Of what is read or written along one axis in one piece: columns, or rows that follow one another.
  int64_t checked_axis(const Attrs& attrs, const Shape& shape, const char* what) const {
    const int64_t axis = attrs.integer("axis"), rank = static_cast<int64_t>(shape.size());
    require(rank > 0 && axis >= -rank && axis < rank, what);
    const int64_t positive = (axis + rank) % rank;
    require(positive == rank - 1 || is_outermost(shape, positive), what);
    return positive;
  }

  int64_t bytes_of_entry(const TensorType& type, int64_t axis) const {
    const bool columns = axis + 1 == static_cast<int64_t>(type.shape.size());
    const int64_t elements = columns ? 1 : numel(type.shape) / std::max<int64_t>(1, type.shape[static_cast<size_t>(axis)]);
    return elements * static_cast<int64_t>(dtype_size(type.dtype));
  }

  // What lies in another value's memory: written over it, a view of it, or a part of a concat, in its place.
  void check_owner(const PlanValue& value) const {
    const auto index = static_cast<int32_t>(index_of(value));
    if (view_[static_cast<size_t>(index)] && view_[static_cast<size_t>(index)]->op == Op::concat)
      for (int32_t in : *concat_[static_cast<size_t>(index)].in) require(at(written(in)).inside == index, "a part of a concat");
    if (value.inside < 0 || value.in_place || view_[static_cast<size_t>(index)]) return;
    const Concat& whole = concat_[static_cast<size_t>(value.inside)];
    require(whole.in != nullptr, "a buffer's owner");
    const TensorType& type = at(value.inside).type;
    const int64_t axis = checked_axis(*whole.attrs, type.shape, "a part of a concat");
    const bool by_rows = axis + 1 < static_cast<int64_t>(type.shape.size());
    const int64_t unit = bytes_of_entry(type, axis);
    int64_t shift = 0;
    bool placed = false;
    for (int32_t in : *whole.in) {
      require(exists(in) && at(in).type.shape.size() == type.shape.size(), "a part of a concat");
      if (written(in) == index) {
        require(!placed && value.shift == shift && value.pitch == (by_rows ? 0 : type.shape.back()) && value.type.dtype == type.dtype,
                "a part of a concat");
        require(numel(value.type.shape) == numel(at(in).type.shape) && at(in).pitch == value.pitch, "a part of a concat");
        placed = true;
      }
      shift += at(in).type.shape[static_cast<size_t>(axis)] * unit;
    }
    require(placed, "a part of a concat");
  }

  void check_input(const PlanPort& port) {
    require(exists(port.value) && in_arena(port.value) && at(port.value).inside < 0 && at(port.value).memory == Memory::device, "an input");
    require(port.dims.empty() || port.dims.size() == at(port.value).type.shape.size(), "an input's dimensions");
    for (const PlanDim& dim : port.dims) require(dim.multiple_of >= 1, "an input's dimensions");
    check_place(port.value);
    made_[static_cast<size_t>(port.value)] = 1;
  }

  // That a value which is read or written lies in memory.
  void check_place(int32_t v) const {
    const PlanValue& value = at(v);
    if (value.where != PlanValue::Where::arena) return;
    const int64_t elements = numel(value.type.shape), columns = value.type.shape.empty() ? 1 : value.type.shape.back();
    const int64_t extent = value.pitch ? (elements / columns - 1) * value.pitch + columns : elements;
    const int64_t arena = value.memory == Memory::host ? plan_.host_arena_bytes : plan_.arena_bytes;
    require(value.offset >= 0 && value.offset < kLargest && value.offset + extent * static_cast<int64_t>(dtype_size(value.type.dtype)) <= arena,
            "an offset");
  }

  void check(const PlanStep& step, Phase phase) const {
    require(exists(step.out) && at(step.out).where != PlanValue::Where::weight, "a step's output");
    require((at(step.out).where == PlanValue::Where::constant) == (phase == Phase::prepare), "a step's output");
    require(!made_[static_cast<size_t>(step.out)] && !view_[static_cast<size_t>(step.out)], "a step's output");
    check_place(step.out);
    for (int32_t in : step.in) {
      if (in == -1) continue;
      require(exists(in) && ready(in) && (!in_arena(in) || phase != Phase::prepare), "a step's input");
      check_place(in);
    }
    if (step.copy) return check_copy(step);
    const KernelEntry* entry = device_.find(step.kernel);
    if (!entry || entry->op != step.op) fail(cat("asks for kernel ", step.kernel, " for ", op_name(step.op), ", which this Vivace lacks"));
    require(step.traits == entry->traits, "a kernel's traits");
    if (step.pack) return check_pack(step, *entry, phase);
    const OpRow& row = op_row(step.op);
    const auto count = static_cast<int>(step.in.size());
    require(count >= row.min_inputs && (row.max_inputs < 0 || count <= row.max_inputs), "the number of a step's inputs");
    for (int i = 0; i < row.min_inputs; ++i) require(step.in[static_cast<size_t>(i)] >= 0, "a step's input");
    check_types(step.op, step.attrs, step.in, step.out, step.scope);
    check_kernel(step, *entry);
  }

  // The same value, dense, in the other memory.
  void check_copy(const PlanStep& step) const {
    require(!step.pack && step.in.size() == 1 && step.in[0] >= 0 && !device_.shares_host_memory(), "a copy");
    const PlanValue &from = at(step.in[0]), &to = at(step.out);
    require(from.type == to.type && from.memory != to.memory && from.pitch == 0 && to.pitch == 0 && !packed_[static_cast<size_t>(step.in[0])],
            "a copy");
  }

  // What is packed has the type of its source; how many bytes it takes says the call of its reader.
  void check_pack(const PlanStep& step, const KernelEntry& entry, Phase phase) const {
    require(phase == Phase::prepare && !step.in.empty() && std::ranges::min(step.in) >= 0, "a packing step");
    const auto& program = plan_.program(step.consumer_phase);
    require(step.consumer >= 0 && step.consumer < static_cast<int32_t>(program.size()), "a packing step's reader");
    const PlanStep& consumer = program[static_cast<size_t>(step.consumer)];
    // The reader's types are checked with itself, which comes later.
    for (int32_t in : consumer.in) require(in == -1 || exists(in), "a packing step's reader");
    require(exists(consumer.out) && consumer.kernel == step.kernel && consumer.op == entry.op && std::ranges::count(consumer.in, step.out) == 1,
            "a packing step's reader");
    const auto at_input = static_cast<size_t>(std::ranges::find(consumer.in, step.out) - consumer.in.begin());
    KernelCall call = kernel_call(plan_, consumer);
    require(call.in.size() >= static_cast<size_t>(op_row(consumer.op).min_inputs), "a packing step's reader");
    for (int i = 0; i < op_row(consumer.op).min_inputs; ++i) require(call.has(static_cast<size_t>(i)), "a packing step's reader");
    check_types(consumer.op, consumer.attrs, consumer.in, consumer.out, consumer.scope);
    const Answer answer = entry.ask(call, target_);
    require(answer.offer && answer.offer->packed && answer.offer->packed->input == static_cast<int>(at_input), "a packing step's reader");
    const int scales = answer.offer->packed->scales;
    require(at(step.out).type == at(step.in[0]).type, "a packing step's output");
    require(at(step.out).memory == Memory::device && entry.memory == Memory::device, "a packing step's memory");
    require(step.in.size() == (scales >= 0 ? 2 : 1) && (scales < 0 || step.in[1] == consumer.in[static_cast<size_t>(scales)]),
            "a packing step's scales");
    for (int32_t in : step.in) require(!packed_[static_cast<size_t>(in)], "a packing step's input");
  }

  void check_types(Op op, const Attrs& attrs, const std::vector<int32_t>& in, int32_t out, const std::string& scope) const {
    std::vector<std::optional<TensorType>> types;
    types.reserve(in.size());
    for (int32_t v : in) types.push_back(v < 0 ? std::nullopt : std::optional(at(v).type));
    if (const auto error = attrs_error(op, attrs)) fail(cat("damaged: ", op_name(op), " in ", scope, " ", *error));
    if (infer(op, attrs, types) != at(out).type) fail(cat("damaged: ", op_name(op), " in ", scope, " has a type that its inputs do not make"));
  }

  void check_kernel(const PlanStep& step, const KernelEntry& entry) const {
    const Memory memory = device_.shares_host_memory() ? Memory::device : entry.memory;
    for (int32_t v : step.in) require(v < 0 || at(v).memory == memory, "the memory of a step's input");
    require(at(step.out).memory == memory, "the memory of a step's output");
    const KernelCall call = kernel_call(plan_, step);
    const Answer answer = entry.ask(call, target_);
    if (!answer.offer) fail(cat("its kernel ", step.kernel, " does not run here: ", answer.reason));
    const std::optional<PackedForm>& form = answer.offer->packed;
    for (size_t i = 0; i < step.in.size(); ++i) {
      if (step.in[i] < 0) continue;
      // A kernel reads the packed form that it asks for, and no other reads one.
      const bool wants_packed = form && static_cast<int>(i) == form->input;
      require((packed_[static_cast<size_t>(step.in[i])] != 0) == wants_packed, "a packed weight");
      const std::string prefix = wants_packed ? packed_key(*form, "") : "}";
      require(at(step.in[i]).key.starts_with(std::string_view(prefix).substr(0, prefix.size() - 1)), "a packed weight");
    }
  }

  struct Concat {
    const Attrs* attrs = nullptr;
    const std::vector<int32_t>* in = nullptr;
  };

  const Plan& plan_;
  const std::string& name_;
  const Device& device_;
  const Target target_ = device_.target();
  std::vector<const PlanView*> view_;  // by value: what makes it without a kernel
  std::vector<Concat> concat_;         // by value: the concat that makes it, with or without one
  std::vector<uint8_t> packed_, made_;
};

}  // namespace

void check_plan(const Plan& plan, const std::string& name, const Device& device) { PlanCheck(plan, name, device).run(); }

}  // namespace vivace
