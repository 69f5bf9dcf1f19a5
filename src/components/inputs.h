// What components share that check and read what they are given.
#pragma once

#include <span>
#include <string>

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

// An output that is a picture inside, as float32 NCHW.
inline Tensor image_output(Session& session, const std::string& name, Request& request) {
  return nhwc_to_nchw(session.read(name, request).to(DType::float32));
}

}  // namespace vivace
