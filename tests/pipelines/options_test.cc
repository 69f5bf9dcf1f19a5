// What the options of a pipeline do to the picture of the model in the repository.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "backends/cpu/isa.h"
#include "components/models.h"
#include "vivace/error.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

using cpu::Isa;
using cpu::isa;
using cpu::isa_name;
using cpu::kHighestIsa;
using cpu::limit_isa;

DiffusionPipeline emoji(const PretrainedOptions& options = {}) {
  return DiffusionPipeline::from_pretrained(VIVACE_SOURCE_DIR "/assets/emoji-xl", options);
}

Tensor picture(DiffusionPipeline& pipe) {
  return pipe("a red apple", {.height = 64, .width = 64, .num_inference_steps = 2, .seed = 7}).images[0].tensor();
}

double largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i) worst = std::max(worst, std::abs(static_cast<double>(a.floats()[i]) - b.floats()[i]));
  return worst;
}

TEST(PipelineOptions, CompiledPictureIsTheEagerOne) {
  DiffusionPipeline eager = emoji(),
                    compiled = emoji({.compile = {.mode = CompileMode::max_autotune, .fullgraph = true, .error_budget = 0, .autotune_seconds = 0}});
  EXPECT_LT(largest_difference(picture(eager), picture(compiled)), 1e-4);
}

// How the UNet, decode and encode of a pipeline are compiled: whether the gate of GEGLU, or GroupNorm's activation, is fused.
std::vector<bool> compiled(DiffusionPipeline& pipe) {
  auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
  auto& vae = static_cast<VAEComponent&>(pipe.vae().component());
  Request request;
  const auto fused = [](const Plan& plan) {
    return std::ranges::any_of(plan.step,
                               [](const PlanStep& s) { return s.op == Op::geglu_linear || (s.op == Op::group_norm && s.attrs.has("act")); });
  };
  return {fused(unet.lease(unet.request({1, 8, 8, 77}), request)->plan()),
          fused(vae.lease(vae.decode_request(1, 8, 8, DType::float32), request)->plan()),
          fused(vae.lease(vae.encode_request(1, 64, 64, DType::float32), request)->plan())};
}

TEST(PipelineOptions, AModeAComponent) {
  const CompileOptions on{.mode = CompileMode::default_}, off;
  using Which = std::vector<bool>;
  DiffusionPipeline pipe = emoji({.compile_components = {{"vae.decode", on}}});
  EXPECT_EQ(compiled(pipe), (Which{false, true, false}));
  pipe.compile(on);
  EXPECT_EQ(compiled(pipe), (Which{true, true, true}));
  pipe.compile(off, {"vae.encode", "unet"});
  EXPECT_EQ(compiled(pipe), (Which{false, true, false}));
  pipe.vae().compile_encode(on);
  EXPECT_EQ(compiled(pipe), (Which{false, true, true}));
  pipe.vae().compile(off);
  EXPECT_EQ(compiled(pipe), (Which{false, false, false})) << "of the whole VAE";
  pipe.compile(on, {"text_encoder", "text_encoder_2"});
  EXPECT_EQ(pipe.text_encoder().component().options().mode, CompileMode::default_);
  EXPECT_EQ(pipe.text_encoder_2().component().options().mode, CompileMode::default_);
  EXPECT_THROW(pipe.compile(on, {"vae.middle"}), UsageError);
}

TEST(PipelineOptions, RegionsFromTheApi) {
  DiffusionPipeline eager = emoji(), regional = emoji(), automatic = emoji();
  regional.unet().compile_repeated_blocks();
  automatic.unet().compile_regions({.fullgraph = true});
  const auto regions = [](DiffusionPipeline& pipe) {
    auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
    Request request;
    return unet.lease(unet.request({1, 8, 8, 77}), request)->plan().regions.size();
  };
  EXPECT_EQ(regions(regional), 2u) << "blocks of 192 and of 256 channels";
  EXPECT_GT(regions(automatic), 0u);
  const Tensor before = picture(eager);
  EXPECT_LT(largest_difference(before, picture(regional)), 1e-4);
  EXPECT_LT(largest_difference(before, picture(automatic)), 1e-4);
  EXPECT_THROW(regional.vae().compile_repeated_blocks(), UsageError) << "AutoencoderKL lists none";
}

TEST(PipelineOptions, FusedProjectionsKeepThePicture) {
  DiffusionPipeline pipe = emoji();
  const Tensor before = picture(pipe);
  pipe.fuse_qkv_projections();
  EXPECT_LT(largest_difference(before, picture(pipe)), 1e-4);
  pipe.unet().compile({.mode = CompileMode::off});  // stays fused
  EXPECT_LT(largest_difference(before, picture(pipe)), 1e-4);
  pipe.unfuse_qkv_projections();
  EXPECT_EQ(largest_difference(before, picture(pipe)), 0);
}

// Every road of an older processor on this one: other register tiles, and below AVX2 oneDNN.
TEST(PipelineOptions, OlderProcessorsDrawTheSamePicture) {
  const auto draw = [](const CompileOptions& options) {
    DiffusionPipeline pipe = emoji({.compile = options});
    return picture(pipe);
  };
  const Tensor want = draw({});
  for (Isa level : {Isa::baseline, Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16}) {
    if (!has_isa(level)) continue;
    limit_isa(level);
    const std::shared_ptr<void> restore(nullptr, [](void*) { limit_isa(kHighestIsa); });
    for (const CompileOptions& options : {CompileOptions{}, {.mode = CompileMode::default_}, {.mode = CompileMode::default_, .dynamic = true}})
      EXPECT_LT(largest_difference(want, draw(options)), 1e-4) << isa_name(level) << (options.dynamic ? " dynamic" : "");
  }
}

TEST(PipelineOptions, SdpaKernelScope) {
  DiffusionPipeline pipe = emoji();
  auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
  const auto kernels = [&] {
    std::set<std::string> names;
    Request request({}, sdpa_kernel::current());
    const SessionLease session = unet.lease(unet.request({1, 8, 8, 77}), request);
    for (const PlanStep& step : session->plan().step)
      if (step.op == Op::attention) names.insert(step.kernel);
    return names;
  };
  const auto outside = kernels();
  const Tensor before = picture(pipe);
  {
    const sdpa_kernel scope(SDPBackend::math);
    EXPECT_EQ(kernels(), std::set<std::string>{"attention_math"});
    EXPECT_LT(largest_difference(before, picture(pipe)), 1e-4);
  }
  EXPECT_EQ(kernels(), outside);
  EXPECT_EQ(largest_difference(before, picture(pipe)), 0);
}

}  // namespace
}  // namespace vivace
