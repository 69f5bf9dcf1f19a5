#include "components/controlnet.h"

#include "base/log.h"
#include "compiler/symbols.h"
#include "components/inputs.h"
#include "components/models.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"

namespace vivace {

ControlNetComponent::ControlNetComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_controlnet_config(read_config(path))) {
  // Guidance makes a batch of 2; CLIP's 77 tokens.
  set_typical(request({2, config_.unet.sample_height, config_.unet.sample_width, 77}));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request({1, 8, 8, 1})); };
  quantize(stored_quantization(read_config(path), weights(), small));
  check_weights([&] { return std::vector{small()}; });
}

GraphRequest ControlNetComponent::request(const UNetShape& shape, int64_t timesteps) const {
  const int64_t factor = upsample_factor(config_.unet), scale = config_.scale();
  return {.function = cat("controlnet time_ids ", shape.time_ids),
          .dtype = dtype(),
          .sizes = {{"batch", shape.batch},
                    {"height", shape.height},
                    {"width", shape.width},
                    {"cond_height", scale * shape.height},
                    {"cond_width", scale * shape.width},
                    {"tokens", shape.tokens},
                    {kTimesteps, timesteps}},
          .granularity = {{"height", factor}, {"width", factor}},
          .build = [config = config_, shape](const Sizes& sizes, Builder b) {
            UNetShape s = shape;
            s.batch = sizes.at("batch");
            s.height = sizes.at("height");
            s.width = sizes.at("width");
            s.tokens = sizes.at("tokens");
            return build_controlnet(config, s, std::move(b));
          }};
}

ControlNetModel ControlNetModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return ControlNetModel(std::make_unique<ControlNetComponent>(path, options));
}

ControlNetModel::Residuals ControlNetModel::operator()(const Tensor& sample, float timestep, const Tensor& states, const Tensor& cond, double scale,
                                                       const AddedCondKwargs& added) const {
  const auto& net = static_cast<const ControlNetComponent&>(*component_);
  need_rank(sample, 4, "sample", "[N, C, H, W]");
  need_rank(states, 3, "encoder_hidden_states", "[N, T, D]");
  need_rank(cond, 4, "controlnet_cond", "[N, 3, height, width]");
  const int64_t ids = added.time_ids.defined() ? added.time_ids.dim(-1) : 0;
  Request request({}, sdpa_kernel::current());
  const SessionLease session = net.lease(net.request({sample.dim(0), sample.dim(2), sample.dim(3), states.dim(1), 1, ids}), request);
  write_denoiser_inputs(*session, sample, timestep, states, added);
  session->write("controlnet_cond", nchw_to_nhwc(cond));
  session->run(Phase::setup, request);
  session->run(Phase::step, request);
  const auto scaled = [&](const std::string& name) {
    Tensor x = image_output(*session, name, request);
    for (float& value : x.floats()) value *= static_cast<float>(scale);
    return x;
  };
  Residuals result;
  for (size_t i = 0; session->has_output(cat(kDownSamples, i)); ++i) result.down.push_back(scaled(cat(kDownSamples, i)));
  result.mid = scaled(kMidSample);
  session->check_quantized();
  return result;
}

}  // namespace vivace
