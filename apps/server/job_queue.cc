#include "job_queue.h"

#include <algorithm>

namespace vivace::server {

JobQueue::Pushed JobQueue::push(std::shared_ptr<Job> job, bool however_full) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Pushed::closed;
  if (size_ >= most_ && !however_full) return Pushed::full;
  size_t of_client = 0, bytes = 0;
  for (const auto& [urgency, turns] : levels_)
    for (const Client& client : turns) {
      if (client.name == job->client) of_client += client.jobs.size();
      for (const auto& waiting : client.jobs) bytes += waiting->bytes_given;
    }
  if (of_client >= most_of_a_client_ && !however_full) return Pushed::full_for_client;
  if (bytes > 0 && job->bytes_given > 0 && bytes + job->bytes_given > most_bytes_ && !however_full) return Pushed::full_of_pictures;
  Turns& turns = levels_[job->urgency];
  auto client = std::ranges::find(turns, job->client, &Client::name);
  if (client == turns.end()) client = turns.insert(turns.end(), Client{job->client, {}});
  client->jobs.push_back(std::move(job));
  ++size_;
  changed_.notify_one();
  return Pushed::yes;
}

std::vector<std::shared_ptr<Job>> JobQueue::take(size_t most_pictures) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || size_ > 0; });
  if (size_ == 0) return {};
  Turns& turns = levels_.begin()->second;
  Client client = std::move(turns.front());
  turns.pop_front();
  std::vector<std::shared_ptr<Job>> taken{std::move(client.jobs.front())};
  client.jobs.pop_front();
  --size_;
  if (!client.jobs.empty()) turns.push_back(std::move(client));
  if (turns.empty()) levels_.erase(levels_.begin());
  take_alike(taken, most_pictures);
  return taken;
}

// Nobody loses a turn by it.
void JobQueue::take_alike(std::vector<std::shared_ptr<Job>>& taken, size_t most_pictures) {
  const std::string& kind = taken.front()->kind;
  if (kind.empty()) return;
  size_t pictures = taken.front()->drawing.seeds.size();
  for (auto& [urgency, turns] : levels_) {
    for (Client& client : turns) {
      const auto fits = [&](const std::shared_ptr<Job>& job) {
        if (job->kind != kind || pictures + job->drawing.seeds.size() > most_pictures) return false;
        pictures += job->drawing.seeds.size();
        taken.push_back(job);
        return true;
      };
      size_ -= std::erase_if(client.jobs, fits);
    }
    std::erase_if(turns, [](const Client& client) { return client.jobs.empty(); });
  }
  std::erase_if(levels_, [](const auto& level) { return level.second.empty(); });
}

bool JobQueue::remove(const Job& job) {
  const std::lock_guard lock(mutex_);
  const auto level = levels_.find(job.urgency);
  if (level == levels_.end()) return false;
  Turns& turns = level->second;
  const auto client = std::ranges::find(turns, job.client, &Client::name);
  if (client == turns.end()) return false;
  if (std::erase_if(client->jobs, [&](const auto& waiting) { return waiting.get() == &job; }) == 0) return false;
  --size_;
  if (client->jobs.empty()) turns.erase(client);
  if (turns.empty()) levels_.erase(level);
  return true;
}

std::vector<std::shared_ptr<Job>> JobQueue::close() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Job>> left;
  for (auto& [urgency, turns] : levels_)
    for (Client& client : turns)
      for (auto& job : client.jobs) left.push_back(std::move(job));
  levels_.clear();
  size_ = 0;
  closed_ = true;
  changed_.notify_all();
  return left;
}

size_t JobQueue::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

std::optional<size_t> JobQueue::position(const Job& job) const {
  const std::lock_guard lock(mutex_);
  size_t before = 0;
  for (const auto& [urgency, turns] : levels_) {
    if (urgency < job.urgency) {
      for (const Client& client : turns) before += client.jobs.size();
      continue;
    }
    const auto client = urgency == job.urgency ? std::ranges::find(turns, job.client, &Client::name) : turns.end();
    if (client == turns.end()) return std::nullopt;
    const auto found = std::ranges::find(client->jobs, &job, [](const auto& waiting) -> const Job* { return waiting.get(); });
    if (found == client->jobs.end()) return std::nullopt;
    // In each round before its own a job of every client that has one left; in its own those whose turn is earlier.
    const auto round = static_cast<size_t>(found - client->jobs.begin());
    for (auto other = turns.begin(); other != turns.end(); ++other) before += std::min(other->jobs.size(), round + (other < client ? 1 : 0));
    return before;
  }
  return std::nullopt;
}

}  // namespace vivace::server
