// The fields of a Plan, listed once for writing and for reading. Each list takes the struct apart by structured binding, which must name every
// member: a field that is added to plan.h does not compile until it is listed here (and raises kPlanFileVersion).
#pragma once

#include <type_traits>

#include "runtime/plan.h"

namespace vivace {

template <class V, class T>
concept Same = std::is_same_v<std::remove_const_t<V>, T>;

template <class Archive>
void fields(Archive& a, Same<TensorType> auto& v) {
  auto& [dtype, shape] = v;
  a(dtype, shape);
}

template <class Archive>
void fields(Archive& a, Same<PlanValue> auto& v) {
  auto& [type, where, memory, phase, offset, pitch, inside, in_place, shift, key] = v;
  a(type, where, memory, phase, offset, pitch, inside, in_place, shift, key);
}

template <class Archive>
void fields(Archive& a, Same<PlanCandidate> auto& v) {
  auto& [kernel, tuning, seconds] = v;
  a(kernel, tuning, seconds);
}

template <class Archive>
void fields(Archive& a, Same<PlanStep> auto& v) {
  auto& [kernel, tuning, traits, op, attrs, in, out, scope, line, copy, pack, consumer, consumer_phase, refused, measured] = v;
  a(kernel, tuning, traits, op, attrs, in, out, scope, line, copy, pack, consumer, consumer_phase, refused, measured);
}

template <class Archive>
void fields(Archive& a, Same<PlanView> auto& v) {
  auto& [op, attrs, in, out] = v;
  a(op, attrs, in, out);
}

template <class Archive>
void fields(Archive& a, Same<PlanDim> auto& v) {
  auto& [name, multiple_of] = v;
  a(name, multiple_of);
}

template <class Archive>
void fields(Archive& a, Same<PlanPort> auto& v) {
  auto& [name, value, dims, state] = v;
  a(name, value, dims, state);
}

template <class Archive>
void fields(Archive& a, Same<PlanSymbol> auto& v) {
  auto& [names] = v;
  a(names);
}

template <class Archive>
void fields(Archive& a, Same<PlanAutotuning> auto& v) {
  auto& [calls, different_calls, timed, settings, settings_each_call, seconds, seconds_each_call] = v;
  a(calls, different_calls, timed, settings, settings_each_call, seconds, seconds_each_call);
}

template <class Archive>
void fields(Archive& a, Same<PlanRegion> auto& v) {
  auto& [scope, occurrences, nodes, seconds] = v;
  a(scope, occurrences, nodes, seconds);
}

template <class Archive>
void fields(Archive& a, Same<Plan> auto& v) {
  auto& [values, prepare, setup, step, views, inputs, outputs, symbols, arena_bytes, host_arena_bytes, constant_bytes, backend, pass_seconds,
         autotuning, regions, graph_breaks, record] = v;
  a(values, prepare, setup, step, views, inputs, outputs, symbols, arena_bytes, host_arena_bytes, constant_bytes, backend, pass_seconds, autotuning,
    regions, graph_breaks, record);
}

}  // namespace vivace
