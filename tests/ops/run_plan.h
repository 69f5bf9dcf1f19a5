// What a plan makes of inputs and weights by their names.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "compiler/compile.h"
#include "runtime/session.h"

namespace vivace {

// As float32; throws where a row that was quantised held a NaN or an infinity.
inline Tensor run_plan(const std::shared_ptr<const Plan>& plan, const std::shared_ptr<Device>& device, const std::map<std::string, Tensor>& values) {
  ConstantStore store(device);
  Request request;
  Session session(plan, *device, store,
                  {.find = [&](const std::string& name) -> WeightBytes {
                     return {values.at(name).dtype(), values.at(name).data()};
                   },
                   .release = [](const std::string&) {}},
                  request);
  for (const PlanPort& port : plan->inputs) session.write(port.name, values.at(port.name));
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  Tensor y = session.read("y", request).to(DType::float32);
  session.check_quantized();
  return y;
}

}  // namespace vivace
