// What components share that check and read what they are given.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "runtime/session.h"
#include "vivace/error.h"
#include "vivace/tensor.h"

namespace vivace {

// A config's file with the component's folder, as people know it: "unet/config.json".
inline Config read_config(const std::filesystem::path& folder) { return Config::read(folder / "config.json"); }

// As int32. Throws UsageError for an id that the text encoder `name` has no embedding of.
inline Tensor checked_token_ids(const Tensor& input_ids, int64_t vocab_size, const std::string& name) {
  Tensor ids = input_ids.to(DType::int32);
  for (const int32_t id : std::span(ids.as<int32_t>(), static_cast<size_t>(ids.numel())))
    if (id < 0 || id >= vocab_size)
      throw UsageError(cat("token id ", id, ": ", name, " has a vocab_size of ", vocab_size, ": its tokenizer is of another model"));
  return ids;
}

// Throws UsageError for a tensor that is missing or of another rank.
inline void need_rank(const Tensor& t, int rank, const char* name, const char* layout) {
  if (!t.defined()) throw UsageError(cat(name, " is missing: expected ", layout));
  if (t.rank() != rank) throw UsageError(cat(name, " has shape ", to_string(t.shape()), ": expected ", layout));
}

inline bool is_finite(const Tensor& t) {
  return std::ranges::all_of(t.floats(), [](float x) { return std::isfinite(x); });
}

// An output that is a picture inside, as float32 NCHW.
inline Tensor image_output(Session& session, const std::string& name, Request& request) {
  return nhwc_to_nchw(session.read(name, request).to(DType::float32));
}

// Throws UsageError for a tensor that is missing or of another shape; -1: any size.
inline void need_shape(const Tensor& t, const Shape& wanted, const char* name, const char* layout) {
  bool fits = t.defined() && t.shape().size() == wanted.size();
  for (size_t i = 0; fits && i < wanted.size(); ++i) fits = wanted[i] < 0 || wanted[i] == t.shape()[i];
  if (!fits) throw UsageError(cat(name, t.defined() ? cat(" has shape ", to_string(t.shape())) : std::string(" is missing"), ": expected ", layout));
}

// One call outside of a loop, given what the session has inputs for; the output of that name, in float32.
inline Tensor run_once(Session& session, Request& request, std::initializer_list<std::pair<const char*, Tensor>> inputs, const char* output) {
  for (const auto& [name, value] : inputs)
    if (session.has_input(name)) session.write(name, value);
  if (session.has_input("step_index")) session.write("step_index", Tensor::zeros({1}, DType::int32));
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  Tensor result = session.read(output, request).to(DType::float32);
  session.check_quantized();
  return result;
}

}  // namespace vivace
