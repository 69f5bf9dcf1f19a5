// Starts of a pipeline, with what they made the runtime do: for the tests of the cache and of packages.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>

#include "../temp_folder.h"
#include "base/files.h"
#include "runtime/request.h"
#include "vivace/vivace.h"

namespace vivace {

namespace fs = std::filesystem;

inline const fs::path kModel = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl";

inline constexpr int64_t kPlans = 4;  // of kModel: two text encoders, UNet, VAE

struct Started {
  Tensor latents;
  RequestCounters counters;  // of this start alone
};

inline Started start(const fs::path& model, const PretrainedOptions& options, const CallOptions& call = {.num_inference_steps = 1, .seed = 7},
                     const std::function<void(DiffusionPipeline&)>& prepare = nullptr) {
  const RequestCounters before = process_counters();
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, options);
  if (prepare) prepare(pipe);
  Started result;
  result.latents = pipe("a red apple", call).latents;
  const RequestCounters after = process_counters();
  result.counters.plans_compiled = after.plans_compiled - before.plans_compiled;
  result.counters.plans_loaded = after.plans_loaded - before.plans_loaded;
  result.counters.plans_resized = after.plans_resized - before.plans_resized;
  result.counters.constants_prepared = after.constants_prepared - before.constants_prepared;
  result.counters.settings_timed = after.settings_timed - before.settings_timed;
  return result;
}

inline void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0);
}

inline PretrainedOptions cached(const TempFolder& folder, CompileMode mode = CompileMode::default_, DType dtype = DType::float32) {
  return {.dtype = dtype, .compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.folder = folder.path(), .max_bytes = 1'000'000'000}};
}

// A copy of the model whose files all have one time, as in reproducible archives. `changed`: other numbers in the UNet.
inline void copy_of_one_time(const fs::path& to, bool changed) {
  fs::copy(kModel, to, fs::copy_options::recursive);
  const fs::path unet = to / "unet/diffusion_pytorch_model.safetensors";
  if (changed) {
    std::string weights = read_file(unet);
    for (size_t i = 1; i <= 2000; ++i) weights[weights.size() - 2 * i + 1] ^= 0x80;  // the signs of the last numbers
    std::ofstream(unet, std::ios::binary) << weights;
  }
  for (const auto& entry : fs::recursive_directory_iterator(to))
    if (entry.is_regular_file())
      fs::last_write_time(entry.path(), fs::file_time_type(std::chrono::file_clock::from_sys(std::chrono::sys_seconds(std::chrono::seconds(1)))));
}

}  // namespace vivace
