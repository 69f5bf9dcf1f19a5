#include "job_queue.h"

#include <algorithm>

namespace vivace::server {

JobQueue::Pushed JobQueue::push(std::shared_ptr<Job> job) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Pushed::closed;
  if (size_ >= most_) return Pushed::full;
  auto client = std::ranges::find(clients_, job->client, &Client::name);
  if (client == clients_.end()) client = clients_.insert(clients_.end(), Client{job->client, {}});
  if (client->jobs.size() >= most_of_a_client_) return Pushed::full_for_client;
  client->jobs.push_back(std::move(job));
  ++size_;
  changed_.notify_one();
  return Pushed::yes;
}

std::shared_ptr<Job> JobQueue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || size_ > 0; });
  if (size_ == 0) return nullptr;
  Client client = std::move(clients_.front());
  clients_.pop_front();
  auto job = std::move(client.jobs.front());
  client.jobs.pop_front();
  --size_;
  if (!client.jobs.empty()) clients_.push_back(std::move(client));
  return job;
}

bool JobQueue::remove(const Job& job) {
  const std::lock_guard lock(mutex_);
  const auto client = std::ranges::find(clients_, job.client, &Client::name);
  if (client == clients_.end()) return false;
  if (std::erase_if(client->jobs, [&](const auto& waiting) { return waiting.get() == &job; }) == 0) return false;
  --size_;
  if (client->jobs.empty()) clients_.erase(client);
  return true;
}

std::vector<std::shared_ptr<Job>> JobQueue::close() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Job>> left;
  for (Client& client : clients_)
    for (auto& job : client.jobs) left.push_back(std::move(job));
  clients_.clear();
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
  const auto client = std::ranges::find(clients_, job.client, &Client::name);
  if (client == clients_.end()) return std::nullopt;
  const auto found = std::ranges::find(client->jobs, &job, [](const auto& waiting) -> const Job* { return waiting.get(); });
  if (found == client->jobs.end()) return std::nullopt;
  // In each round before its own a job of every client that has one left; in its own those whose turn is earlier.
  const auto round = static_cast<size_t>(found - client->jobs.begin());
  size_t before = 0;
  for (auto other = clients_.begin(); other != clients_.end(); ++other) before += std::min(other->jobs.size(), round + (other < client ? 1 : 0));
  return before;
}

}  // namespace vivace::server
