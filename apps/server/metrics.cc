#include "metrics.h"

#include <unistd.h>

#include <fstream>

#include "base/log.h"
#include "base/numbers.h"

namespace vivace::server {
namespace {

std::string head(const std::string& name, const char* type, const std::string& help) {
  return cat("# HELP ", name, ' ', help, "\n# TYPE ", name, ' ', type, '\n');
}

size_t resident_bytes() {
  size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

void Metrics::Histogram::add(double value) {
  ++count;
  sum += value;
  for (size_t i = 0; i < kBounds.size(); ++i)
    if (value <= kBounds[i]) ++counts[i];
}

std::string Metrics::Histogram::text(const std::string& name, const std::string& help) const {
  std::string result = head(name, "histogram", help);
  for (size_t i = 0; i < kBounds.size(); ++i) result += cat(name, "_bucket{le=\"", number_text(kBounds[i]), "\"} ", counts[i], '\n');
  // With as many digits as it has: a sum that has grown must not stand still.
  return result + cat(name, "_bucket{le=\"+Inf\"} ", count, '\n', name, "_sum ", number_text(sum), '\n', name, "_count ", count, '\n');
}

void Metrics::request(const std::string& route, int status, double seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
  request_seconds_.add(seconds);
}

void Metrics::job(JobState ended, double seconds_waited, double seconds) {
  const std::lock_guard lock(mutex_);
  ++jobs_[job_state_name(ended)];
  waited_.add(seconds_waited);
  drawing_.add(seconds);
  recent_job_ = recent_job_ == 0 ? seconds : 0.8 * recent_job_ + 0.2 * seconds;
}

void Metrics::step(double seconds) {
  const std::lock_guard lock(mutex_);
  steps_.add(seconds);
}

void Metrics::picture() {
  const std::lock_guard lock(mutex_);
  ++pictures_;
}

double Metrics::job_seconds() const {
  const std::lock_guard lock(mutex_);
  return recent_job_;
}

std::string Metrics::text(const Gauges& gauges) const {
  const std::lock_guard lock(mutex_);
  std::string result = head("vivace_requests_total", "counter", "Requests answered; 499: the client went first.");
  for (const auto& [key, count] : requests_)
    result += cat("vivace_requests_total{route=\"", key.first, "\",status=\"", key.second, "\"} ", count, '\n');
  result += head("vivace_jobs_total", "counter", "Jobs that have ended.");
  for (const auto& [state, count] : jobs_) result += cat("vivace_jobs_total{state=\"", state, "\"} ", count, '\n');
  result += head("vivace_pictures_total", "counter", "Pictures drawn.") + cat("vivace_pictures_total ", pictures_, '\n');
  result += request_seconds_.text("vivace_request_seconds", "From a request's head to the last byte of its answer.");
  result += waited_.text("vivace_job_wait_seconds", "What jobs waited in the queue.");
  result += drawing_.text("vivace_job_seconds", "What jobs took once they were begun.");
  result += steps_.text("vivace_step_seconds", "What denoising steps took.");
  const auto gauge = [&](const char* name, const char* help, size_t value) { result += head(name, "gauge", help) + cat(name, ' ', value, '\n'); };
  gauge("vivace_queue_jobs", "Jobs that wait.", gauges.waiting);
  gauge("vivace_running_jobs", "Jobs that are drawn.", gauges.running);
  gauge("vivace_kept_jobs", "Jobs that are known still.", gauges.jobs_kept);
  gauge("vivace_result_bytes", "Pictures that are kept for their clients.", gauges.result_bytes);
  gauge("vivace_model_bytes", "Prepared weights and activations of the models that are loaded.", gauges.model_bytes);
  gauge("vivace_resident_bytes", "Memory of the process.", resident_bytes());
  return result;
}

}  // namespace vivace::server
