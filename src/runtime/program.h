// Program: a plan on a device, every kernel asked once. Immutable; the sessions of a plan share it.
#pragma once

#include <memory>
#include <vector>

#include "base/parallel.h"
#include "runtime/device.h"
#include "runtime/plan.h"
#include "runtime/weight_stream.h"

namespace vivace {

struct Program {
  // InternalError where the device lacks a kernel of the plan, or the kernel refuses: a plan from elsewhere is checked before (plan_file.h).
  // `resident_bytes`: what of the weights stays in a memory of the device's own.
  Program(std::shared_ptr<const Plan> plan, const Device& device, size_t resident_bytes = kAllResident);

  using Offers = std::vector<std::shared_ptr<const Offer>>;
  const Offers& offers(Phase phase) const { return phase == Phase::prepare ? prepare : phase == Phase::setup ? setup : step; }

  std::shared_ptr<const Plan> plan;
  const int threads = num_threads();  // that the kernels were asked for and run on
  // By step of the plan's programs. A step that packs has the offer of the kernel that will read what it makes, one that copies none.
  Offers prepare, setup, step;
  const size_t resident_bytes;
  WeightStream weights;  // that wait in the host's memory, beside those that stay
};

}  // namespace vivace
