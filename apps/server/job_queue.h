// Jobs that wait for the engine: bounded, and fair. The most urgent go first; among those clients take turns, a job each, and those of one client are
// in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "job.h"

namespace vivace::server {

class JobQueue {
 public:
  // The pictures that jobs bring may take so many bytes, or be one job's.
  JobQueue(size_t most, size_t most_of_a_client, size_t most_bytes = SIZE_MAX)
      : most_(most), most_of_a_client_(most_of_a_client), most_bytes_(most_bytes) {}

  enum class Pushed { yes, full, full_for_client, full_of_pictures, closed };
  Pushed push(std::shared_ptr<Job> job, bool however_full = false);
  // The next job, and behind it others of its kind that wait, whoever's they are, as long as all together have no more than so many pictures. None
  // once it is closed.
  std::vector<std::shared_ptr<Job>> take(size_t most_pictures = 1);
  // Whether it was waiting still.
  bool remove(const Job& job);
  // Takes no more; hands back what waits.
  std::vector<std::shared_ptr<Job>> close();
  size_t size() const;
  // How many are to be drawn before this one, if nobody comes meanwhile; nothing where it does not wait.
  std::optional<size_t> position(const Job& job) const;

 private:
  struct Client {
    std::string name;
    std::deque<std::shared_ptr<Job>> jobs;
  };
  using Turns = std::deque<Client>;  // whose turn is next; each has a job

  void take_alike(std::vector<std::shared_ptr<Job>>& taken, size_t most_pictures);

  const size_t most_, most_of_a_client_, most_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, Turns> levels_;  // by urgency; each has a client
  size_t size_ = 0;
  bool closed_ = false;
};

}  // namespace vivace::server
