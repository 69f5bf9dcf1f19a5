// What a component takes of the device's memory, and what of it is given back.
#include <algorithm>

#include "compiler/compile.h"
#include "components/component.h"
#include "passes/passes.h"

namespace vivace {

MemoryNeed Component::memory_need(std::span<const GraphRequest> wanted, Request& request, size_t resident_bytes) const {
  std::vector<std::shared_ptr<const Plan>> plans;
  std::vector<MemoryNeed> sessions;
  for (const GraphRequest& one : wanted) {
    const std::shared_ptr<const Plan> plan = find_plan(one, request);
    if (std::ranges::count(plans, plan)) continue;  // the same session again
    plans.push_back(plan);
    const std::lock_guard lock(needs_mutex_);
    std::erase_if(needs_, [](const auto& entry) { return entry.first.expired(); });
    auto& known = needs_[plan];
    if (!known.contains(resident_bytes)) known.emplace(resident_bytes, vivace::memory_need(Program(plan, *device_, resident_bytes)));
    sessions.push_back(known.at(resident_bytes));
  }
  return one_after_another(sessions, sessions_.limits());
}

MemoryNeed Component::memory_need(std::span<const GraphRequest> wanted, const CompileOptions& options) const {
  std::vector<MemoryNeed> sessions;
  for (const GraphRequest& one : wanted) {
    Graph graph = this->graph(one);
    resolve_weights(graph, adapted());
    sessions.push_back(vivace::memory_need(Program(std::make_shared<const Plan>(vivace::compile(std::move(graph), *device_, options)), *device_)));
  }
  return one_after_another(sessions, sessions_.limits());
}

void Component::give_back(Request& request) const {
  const Turn turn(prepared_->turns, request.stop);
  if (resident_ == kAllResident)
    forget_prepared();
  else
    leave_device();
}

void Component::leave_device() const {
  prepared_->drop_idle();
  prepared_->store.leave_device();
}

void Component::keep_resident(size_t bytes, Request& request) const {
  if (device_->shares_host_memory() || resident_ == bytes) return;
  const Turn turn(prepared_->turns, request.stop);
  if (resident_ == kAllResident || bytes == kAllResident)
    forget_prepared();
  else
    leave_device();
  resident_ = bytes;
}

void Component::forget_prepared() const {
  prepared_->drop_idle();
  prepared_->cache.forget_constants();
  prepared_->store.clear();
  add_packaged_weights();
  for (const auto& file : weights_.files().files()) file->map().dont_need(0, file->map().size());
}

}  // namespace vivace
