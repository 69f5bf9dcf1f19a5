// What `vivace tune` may switch on, one thing at a time, beyond the dtype.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vivace/pipeline.h"

namespace vivace::cli {

struct Candidate {
  std::string name;                              // "winograd decoder.up_blocks.1", "int8 mid_block attn1"
  std::string knob;                              // candidates of one knob exclude each other; empty: it goes with all others
  std::vector<std::string> winograd, quantized;  // layers
  Quantization kind = Quantization::int8_dynamic;
  std::optional<SDPBackend> sdpa;
  double error_budget = 0;  // of every layer that is no Winograd candidate of another name
};

// For such a call, in the order in which they are measured: within a kind, what has most arithmetic comes first.
std::vector<Candidate> find_candidates(DiffusionPipeline& pipe, const CallOptions& call);

// `dtype` compiled, with those of `all` that are `chosen` switched on.
PretrainedOptions setting_of(DType dtype, std::span<const Candidate> all, std::span<const Candidate> chosen);

}  // namespace vivace::cli
