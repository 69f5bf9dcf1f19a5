#include "runtime/program.h"

#include "base/log.h"
#include "base/pool.h"
#include "runtime/kernel_call.h"
#include "vivace/error.h"

namespace vivace {

Program::Program(std::shared_ptr<const Plan> of, const Device& device, size_t resident) : plan(std::move(of)), resident_bytes(resident) {
  const FixedThreads fixed(threads);
  const Target target = device.target();
  const auto ask = [&](const PlanStep& s) -> std::shared_ptr<const Offer> {
    if (s.pack || s.copy) return nullptr;
    const KernelEntry* entry = device.find(s.kernel);
    if (!entry) throw InternalError(cat("the plan asks for kernel ", s.kernel, ", which device ", target.name, " lacks"));
    Answer answer = entry->ask(kernel_call(*plan, s), target);
    if (!answer.offer) throw InternalError(cat("kernel ", s.kernel, " refuses ", s.scope, ": ", answer.reason));
    return std::move(answer.offer);
  };
  for (const PlanStep& s : plan->setup) setup.push_back(ask(s));
  for (const PlanStep& s : plan->step) step.push_back(ask(s));
  for (const PlanStep& s : plan->prepare) prepare.push_back(ask(s));
  for (size_t i = 0; i < prepare.size(); ++i)
    if (const PlanStep& s = plan->prepare[i]; s.pack) prepare[i] = offers(s.consumer_phase)[static_cast<size_t>(s.consumer)];
  if (resident != kAllResident && !device.shares_host_memory()) weights = stream_weights(*this, resident);
}

}  // namespace vivace
