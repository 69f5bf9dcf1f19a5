#include "runtime/memory_need.h"

#include <algorithm>

namespace vivace {

Workspaces workspaces(const Program& program) {
  Workspaces most;
  for (Phase phase : {Phase::setup, Phase::step}) {
    const std::vector<PlanStep>& steps = program.plan->program(phase);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (steps[i].copy) continue;
      size_t& bytes = program.plan->values[static_cast<size_t>(steps[i].out)].memory == Memory::host ? most.host : most.device;
      bytes = std::max(bytes, program.offers(phase)[i]->workspace_bytes);
    }
  }
  return most;
}

size_t prepared_bytes(const Program& program, size_t prepare_step) {
  const PlanStep& step = program.plan->prepare[prepare_step];
  return step.pack ? program.prepare[prepare_step]->packed->bytes
                   : static_cast<size_t>(program.plan->values[static_cast<size_t>(step.out)].type.bytes());
}

std::vector<size_t> constant_bytes(const Program& program) {
  const Plan& plan = *program.plan;
  std::vector<size_t> bytes(plan.values.size());
  for (size_t v = 0; v < bytes.size(); ++v)
    if (plan.values[v].where == PlanValue::Where::weight) bytes[v] = static_cast<size_t>(plan.values[v].type.bytes());
  for (size_t i = 0; i < plan.prepare.size(); ++i) bytes[static_cast<size_t>(plan.prepare[i].out)] = prepared_bytes(program, i);
  return bytes;
}

std::vector<uint8_t> values_to_keep(const Plan& plan) {
  std::vector<uint8_t> keep(plan.values.size());
  for (const auto* program : {&plan.setup, &plan.step})
    for (const PlanStep& step : *program)
      for (int32_t in : step.in)
        if (in >= 0 && plan.values[static_cast<size_t>(in)].phase == Phase::prepare) keep[static_cast<size_t>(in)] = 1;
  for (const PlanPort& port : plan.outputs)
    if (plan.values[static_cast<size_t>(port.value)].phase == Phase::prepare) keep[static_cast<size_t>(port.value)] = 1;
  return keep;
}

MemoryNeed memory_need(const Program& program) {
  const Plan& plan = *program.plan;
  const Workspaces work = workspaces(program);
  const WeightStream& stream = program.weights;
  MemoryNeed need{
      .waiting = static_cast<int64_t>(stream.waiting_bytes),
      .activations = plan.arena_bytes + plan.host_arena_bytes + static_cast<int64_t>(work.device + work.host + Stream::kLanes * stream.lane_bytes)};
  const std::vector<uint8_t> keep = values_to_keep(plan);
  const auto stays = [&](size_t v) { return keep[v] && !stream.is_on_host(v); };  // where it was made
  const auto bytes = [&](int32_t v) { return plan.values[static_cast<size_t>(v)].type.bytes(); };
  int64_t begun = 0, made = 0;
  for (const PlanPort& port : plan.inputs)
    if (!port.state.empty()) begun += bytes(port.value);
  for (const PlanPort& port : plan.outputs)
    if (std::ranges::none_of(plan.inputs, [&](const PlanPort& input) { return input.state == port.name; })) made += bytes(port.value);
  need.beside = std::max(begun, made);
  for (size_t v = 0; v < keep.size(); ++v)
    if (keep[v] && plan.values[v].where == PlanValue::Where::weight) need.weights += bytes(static_cast<int32_t>(v));
  std::vector<int> readers(plan.values.size());
  for (const PlanStep& step : plan.prepare)
    for (int32_t in : step.in)
      if (in >= 0) ++readers[static_cast<size_t>(in)];
  // As Session prepares: a tensor is there from the first step that reads it, a value from the one that makes it, both until the last reader.
  std::vector<uint8_t> there(plan.values.size());
  int64_t held = 0;
  for (size_t i = 0; i < plan.prepare.size(); ++i) {
    const PlanStep& step = plan.prepare[i];
    const auto take = [&](int32_t v, int64_t size) {
      if (v < 0 || stays(static_cast<size_t>(v)) || there[static_cast<size_t>(v)]) return;
      there[static_cast<size_t>(v)] = 1;
      held += size;
    };
    for (int32_t in : step.in) take(in, in < 0 ? 0 : bytes(in));
    const auto made = static_cast<int64_t>(prepared_bytes(program, i));
    if (keep[static_cast<size_t>(step.out)]) need.weights += made;
    take(step.out, made);
    need.preparing = std::max(need.preparing, held);
    if (stream.is_on_host(static_cast<size_t>(step.out)) && readers[static_cast<size_t>(step.out)] == 0) held -= made;
    for (int32_t in : step.in)
      if (in >= 0 && --readers[static_cast<size_t>(in)] == 0 && there[static_cast<size_t>(in)]) held -= bytes(in);
  }
  need.weights -= need.waiting;
  return need;
}

}  // namespace vivace
