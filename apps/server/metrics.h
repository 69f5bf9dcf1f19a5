// What the server counts, in the text form that Prometheus reads.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "job.h"

namespace vivace::server {

// Of a moment, beside what is counted.
struct Gauges {
  size_t waiting = 0, running = 0, jobs_kept = 0, model_bytes = 0, result_bytes = 0;
};

class Metrics {
 public:
  // `route`: the pattern and not the path, of which there are too many.
  void request(const std::string& route, int status, double seconds);
  void job(JobState ended, double seconds_waited, double seconds);
  void step(double seconds);
  void picture();
  // How long a job took, on average of late; 0 before the first.
  double job_seconds() const;
  std::string text(const Gauges& gauges) const;

 private:
  struct Histogram {
    static constexpr std::array<double, 12> kBounds{0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15, 60, 180, 600, 1800};
    std::array<uint64_t, kBounds.size()> counts{};
    uint64_t count = 0;
    double sum = 0;
    void add(double value);
    std::string text(const std::string& name, const std::string& help) const;
  };

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;
  std::map<std::string, uint64_t> jobs_;
  Histogram request_seconds_, waited_, drawing_, steps_;
  uint64_t pictures_ = 0;
  double recent_job_ = 0;
};

}  // namespace vivace::server
