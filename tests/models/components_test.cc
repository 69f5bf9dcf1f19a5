// Whole components against Diffusers and transformers in fp32, on the oracle and on the CPU backend, eager and compiled.
#include "components.h"

#include "backends/cpu/device.h"
#include "backends/ref/device.h"
#include "ops/decompose.h"

namespace vivace {
namespace {

const std::string kData = VIVACE_TEST_DATA;

std::vector<golden::Case> components() {
  std::vector<golden::Case> result;
  for (const auto& item : golden::read_cases(kData))
    if (item.at("kind") != "block") result.push_back(item);
  return result;
}

class Components : public testing::TestWithParam<golden::Case> {
 protected:
  void check(const std::string& output, const golden::Tensors& got, const std::string& name) {
    const auto& outputs = GetParam().at("outputs");
    if (!outputs.contains(output)) return;
    // Two float32 evaluations of a network of some ten layers of a few hundred terms each: errors of one rounding add like a random walk,
    // sqrt(10 layers * 1000 terms) * 2^-24, and the largest of some thousand values lies within five deviations.
    const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;
    EXPECT_LT(golden::relative_error(outputs.at(output), kData, got.at(name)), tolerance) << output;
  }
  void check_all(const std::shared_ptr<Device>& device, const CompileOptions& options, bool decompose) {
    const auto& item = GetParam();
    const int64_t layers = item.at("kind") == "text_encoder" ? item.at("config").value("num_hidden_layers", int64_t{12}) : 0;
    for (int64_t skip = 0; skip <= layers; ++skip) {
      auto [graph, inputs] = golden::make_component(item, DType::float32, skip);
      if (decompose) graph = decompose_all(graph);
      golden::Tensors got = golden::run(std::move(graph), device, options, inputs, item.at("prefix"), item.at("seed").get<uint32_t>());
      if (item.at("kind") == "cogvideox_transformer_3d") got.at("sample") = golden::cogvideox_sample(item, got.at("sample"));
      if (got.contains("moments")) {
        const Tensor nhwc = nchw_to_nhwc(got.at("moments"));
        const int64_t half = nhwc.dim(3) / 2;
        for (const auto& [name, begin] : {std::pair{"mean", int64_t{0}}, {"logvar", half}}) {
          Tensor part({nhwc.dim(0), nhwc.dim(1), nhwc.dim(2), half}, DType::float32);
          for (int64_t i = 0; i < part.numel(); ++i) part.floats()[i] = nhwc.floats()[i / half * 2 * half + begin + i % half];
          got[name] = nhwc_to_nchw(part);
        }
      }
      for (const char* output : {"sample", "latents", "mean", "logvar", "last_hidden_state", "pooler_output", "text_embeds"})
        check(output, got, output);
      check("hidden_states." + std::to_string(layers - skip), got, "hidden_state");
    }
  }
};

// The oracle takes seconds a network: a few cases, of each kind, tie it to the reference.
class OracleComponents : public Components {};

std::vector<golden::Case> oracle_components() {
  auto all = components();
  std::erase_if(all, [](const golden::Case& c) {
    const std::string name = c.at("name");
    return name != "text_eos_id" && name != "unet_scale_shift" && name != "unet_only_cross_attention" && name != "vae_no_quant_convs_decode" &&
           name != "umt5_mask" && name != "flux_kontext" && name != "aura_flow" && name != "cogvideox_learned";
  });
  return all;
}

TEST_P(OracleComponents, MatchesDiffusers) { check_all(ref::device(), {}, true); }

TEST_P(Components, EagerMatchesDiffusers) { check_all(cpu::device(), {}, false); }

TEST_P(Components, CompiledMatchesDiffusers) { check_all(cpu::device(), {.mode = CompileMode::default_}, false); }

INSTANTIATE_TEST_SUITE_P(Golden, OracleComponents, testing::ValuesIn(oracle_components()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });
INSTANTIATE_TEST_SUITE_P(Golden, Components, testing::ValuesIn(components()),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

}  // namespace
}  // namespace vivace
