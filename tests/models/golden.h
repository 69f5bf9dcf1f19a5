// Golden cases (tools/golden/README.md): reading them, running a graph on a backend, comparing.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "compiler/compile.h"
#include "models/common/random_weights.h"
#include "runtime/session.h"
#include "vivace/generator.h"

namespace vivace::golden {

// A case prints as its name.
struct Case : nlohmann::json {
  using nlohmann::json::json;
  Case(const nlohmann::json& other) : nlohmann::json(other) {}
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.at("name").get<std::string>(); }
};

inline nlohmann::json read_cases(const std::string& folder) {
  return read_json(folder + "/cases.json").at("cases");  // Python's grammar: it holds -Infinity
}

inline Tensor make_input(const nlohmann::json& spec) {
  const Shape shape = spec.at("shape").get<Shape>();
  if (spec.contains("values")) {
    const auto values = spec.at("values").get<std::vector<float>>();
    return Tensor::from(shape, std::span<const float>(values));
  }
  Tensor t = Generator(spec.at("randn_seed").get<uint64_t>()).randn(shape);
  if (spec.contains("scale"))
    for (float& x : t.floats()) x *= spec.at("scale").get<float>();
  return t;
}

// Names to tensors, NCHW for images.
using Tensors = std::map<std::string, Tensor>;

// Runs all phases. Images go in and come out as NCHW.
inline Tensors run(Graph graph, const std::shared_ptr<Device>& device, const CompileOptions& options, const Tensors& inputs,
                   const std::string& prefix, uint32_t seed) {
  auto plan = std::make_shared<const Plan>(compile(std::move(graph), *device, options));
  std::map<std::string, Tensor> made;
  const WeightSource weights{.find = [&](const std::string& name) -> WeightBytes {
                               for (const PlanValue& v : plan->values)
                                 if (v.where == PlanValue::Where::weight && v.key == name && !made.count(name))
                                   made[name] = random_weight(prefix + name, v.type.shape, seed);
                               return {DType::float32, made.at(name).data()};
                             },
                             .release = [](const std::string&) {}};
  ConstantStore store(device);
  Request request;
  Session session(plan, *device, store, weights, request);
  for (const PlanPort& port : plan->inputs) {
    const Tensor value = port.name == "step_index" ? Tensor::zeros({1}, DType::int32) : inputs.at(port.name);
    session.write(port.name, value.rank() == 4 ? nchw_to_nhwc(value) : value);
  }
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  Tensors outputs;
  for (const PlanPort& port : plan->outputs) {
    const Tensor out = session.read(port.name, request).to(DType::float32);
    outputs[port.name] = out.rank() == 4 ? nhwc_to_nchw(out) : out;
  }
  return outputs;
}

// Largest difference over the values kept, in units of the output's own root mean square.
inline double relative_error(const nlohmann::json& spec, const std::string& folder, const Tensor& got) {
  EXPECT_EQ(spec.at("shape").get<Shape>(), got.shape());
  std::ifstream file(folder + "/" + spec.at("file").get<std::string>(), std::ios::binary);
  file.seekg(spec.at("offset").get<int64_t>());
  const auto count = spec.at("count").get<size_t>(), stride = spec.at("stride").get<size_t>();
  std::vector<float> kept(count);
  file.read(reinterpret_cast<char*>(kept.data()), static_cast<std::streamsize>(count * sizeof(float)));
  EXPECT_TRUE(file.good());
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    const double difference = std::abs(static_cast<double>(kept[i]) - static_cast<double>(got.floats()[i * stride]));
    worst = std::isfinite(difference) ? std::max(worst, difference) : INFINITY;
  }
  return worst / spec.at("rms").get<double>();
}

}  // namespace vivace::golden
