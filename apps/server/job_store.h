// Every job that may still be asked for, by its id. All of it is for any thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "job.h"

namespace vivace::server {

class JobStore {
 public:
  // Results are kept for so long after the end, and as long as all together have no more bytes; the oldest go first, and those beyond kMost.
  static constexpr size_t kMost = 4096;
  JobStore(double seconds, size_t bytes) : seconds_(seconds), bytes_(bytes) {}

  // `task`: a name that its client gave it, or "".
  void add(std::shared_ptr<Job> job, const std::string& task = "");
  std::shared_ptr<Job> find(const std::string& id) const;
  std::shared_ptr<Job> find_task(const std::string& task) const;
  // Of those of a client that have not ended the one that was begun, else the one made first.
  std::shared_ptr<Job> current_of(const std::string& client) const;
  // Nobody asks for it again.
  void forget(const Job& job);
  // Lets go of what is kept too long or is too much. To be called now and then.
  void expire();
  size_t size() const;
  size_t result_bytes() const;

 private:
  const double seconds_;
  const size_t bytes_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Job>> jobs_;  // in the order of their making
  std::map<std::string, std::shared_ptr<Job>> by_id_, by_task_;

  void drop(const Job& job);
};

}  // namespace vivace::server
