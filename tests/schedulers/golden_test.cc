// Whole loops against Diffusers, for every class and config variant (tools/golden/schedulers.py).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "vivace/scheduler.h"

namespace vivace {
namespace {

using Json = nlohmann::json;
constexpr float kEps = std::numeric_limits<float>::epsilon();

const Json& golden() {
  static const Json data = read_json(std::string(VIVACE_TEST_DATA) + "/schedulers.json");
  return data;
}

// The "model" of the golden file.
Tensor model(const Tensor& sample, float input_scale, float timestep) {
  Tensor out(sample.shape(), DType::float32);
  const double t = timestep;
  const auto slope = static_cast<float>(0.3 * std::cos(t / 300));
  for (int64_t i = 0; i < out.numel(); ++i) {
    const float product = sample.as<float>()[i] * input_scale * slope;
    out.as<float>()[i] = product + static_cast<float>(0.1 * std::sin(0.01 * t + 0.7 * static_cast<double>(i)));
  }
  return out;
}

SchedulerTimesteps request_of(const Json& given) {
  SchedulerTimesteps request;
  const Json& r = given["request"];
  if (r.contains("num_inference_steps")) request.num_inference_steps = r["num_inference_steps"].get<int>();
  if (r.contains("timesteps")) request.timesteps = r["timesteps"].get<std::vector<double>>();
  if (r.contains("sigmas")) request.sigmas = r["sigmas"].get<std::vector<double>>();
  if (r.contains("mu")) request.mu = r["mu"].get<double>();
  if (r.contains("original_inference_steps")) request.original_inference_steps = r["original_inference_steps"].get<int>();
  request.strength = r.value("strength", 1.0);
  const Json step = given.value("step", Json::object());
  if (step.contains("eta")) request.eta = step["eta"].get<double>();
  request.use_clipped_model_output = step.value("use_clipped_model_output", false);
  request.s_churn = step.value("s_churn", 0.0);
  request.s_tmin = step.value("s_tmin", request.s_tmin);
  request.s_tmax = step.value("s_tmax", request.s_tmax);
  request.s_noise = step.value("s_noise", 1.0);
  return request;
}

class Golden : public testing::TestWithParam<int> {};

TEST_P(Golden, EqualsDiffusers) {
  set_log_sink([](LogLevel, const std::string&) {});  // LCM warns about custom timesteps, as it should
  const Json& expected = golden()["cases"][GetParam()];
  SCOPED_TRACE(json_text({expected["class"], expected["config"], expected["request"], expected.value("step", Json::object())}));
  const auto scheduler = make_scheduler(expected["class"].get<std::string>(), json_text(expected["config"]));
  scheduler->set_timesteps(request_of(expected));

  // Whole timesteps are exact. Fractional ones are found between logarithms of sigmas that float32 tells apart to eps * |log sigma|, where
  // a timestep is about 0.005 wide; the search then multiplies by the timesteps passed.
  const auto timesteps = expected["timesteps"].get<std::vector<float>>();
  ASSERT_EQ(scheduler->timesteps().size(), timesteps.size());
  for (size_t i = 0; i < timesteps.size(); ++i) {
    const float got = scheduler->timesteps()[i], want = timesteps[i];
    EXPECT_NEAR(got, want, got == std::floor(got) && want == std::floor(want) ? 0 : 4 * kEps * 1000) << "timestep " << i;
  }
  // A few roundings a sigma.
  const auto sigmas = expected.value("sigmas", std::vector<float>());
  ASSERT_EQ(scheduler->sigmas().size(), sigmas.size());
  for (size_t i = 0; i < sigmas.size(); ++i) EXPECT_NEAR(scheduler->sigmas()[i], sigmas[i], 4 * kEps * std::abs(sigmas[i])) << "sigma " << i;
  const auto init_noise_sigma = expected["init_noise_sigma"].get<float>();
  EXPECT_NEAR(scheduler->init_noise_sigma(), init_noise_sigma, 4 * kEps * init_noise_sigma);

  const auto shape = golden()["shape"].get<Shape>();
  const int begin = expected.value("begin", 0);
  Tensor sample = Generator(1).randn(shape);
  if (begin > 0) {
    scheduler->set_begin_index(begin);
    sample = scheduler->add_noise(Generator(2).randn(shape), sample, begin);
  } else {
    for (float& v : sample.floats()) v *= scheduler->init_noise_sigma();
  }
  std::vector<Generator> generators;
  for (const uint64_t seed : expected.value("seeds", std::vector<uint64_t>{5})) generators.emplace_back(seed);
  std::vector<Generator*> sources;
  for (Generator& g : generators) sources.push_back(&g);
  const int count = static_cast<int>(timesteps.size());
  for (int i = begin; i < count; ++i)
    sample = scheduler->step(model(sample, scheduler->input_scale(i), scheduler->timesteps()[i]), i, sample, sources);

  // Each step rounds sums of a few terms as large as the largest sample.
  const double tolerance = 4.0 * kEps * expected["peak"].get<double>() * (count - begin + 1);
  const auto kept = golden()["kept"].get<std::vector<int>>();
  double worst = 0;
  for (size_t k = 0; k < kept.size(); ++k) {
    const double difference = std::abs(sample.as<float>()[kept[k]] - expected["sample"][k].get<double>());
    EXPECT_LE(difference, tolerance) << "value " << kept[k];
    worst = std::max(worst, difference);
  }
  RecordProperty("worst_difference", cat(worst));
  set_log_sink(nullptr);
}

INSTANTIATE_TEST_SUITE_P(Schedulers, Golden, testing::Range(0, static_cast<int>(golden()["cases"].size())));

}  // namespace
}  // namespace vivace
