#include "job_store.h"

#include <algorithm>
#include <vector>

namespace vivace::server {

void JobStore::add(std::shared_ptr<Job> job, const std::string& task) {
  const std::lock_guard lock(mutex_);
  by_id_[job->id] = job;
  if (!task.empty()) by_task_[task] = job;
  jobs_.push_back(std::move(job));
}

std::shared_ptr<Job> JobStore::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

std::shared_ptr<Job> JobStore::find_task(const std::string& task) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_task_.find(task);
  return found == by_task_.end() ? nullptr : found->second;
}

std::shared_ptr<Job> JobStore::current_of(const std::string& client) const {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Job> first;
  for (const auto& job : jobs_) {
    if (job->client != client || job->ended() != Clock::time_point{}) continue;
    if (job->started() != Clock::time_point{}) return job;
    if (!first) first = job;
  }
  return first;
}

void JobStore::drop(const Job& job) {
  std::erase_if(by_task_, [&](const auto& entry) { return entry.second.get() == &job; });
  by_id_.erase(job.id);
}

void JobStore::forget(const Job& job) {
  const std::lock_guard lock(mutex_);
  drop(job);
  std::erase_if(jobs_, [&](const auto& kept) { return kept.get() == &job; });
}

void JobStore::expire() {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& job : jobs_) total += job->bytes();
  const Clock::time_point now = Clock::now();
  for (auto at = jobs_.begin(); at != jobs_.end();) {
    const Clock::time_point ended = (*at)->ended();
    const bool over =
        ended != Clock::time_point{} && (total > bytes_ || jobs_.size() > kMost || std::chrono::duration<double>(now - ended).count() > seconds_);
    if (!over) {
      ++at;
      continue;
    }
    total -= (*at)->bytes();
    drop(**at);
    at = jobs_.erase(at);
  }
}

size_t JobStore::size() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

size_t JobStore::result_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& job : jobs_) total += job->bytes();
  return total;
}

}  // namespace vivace::server
