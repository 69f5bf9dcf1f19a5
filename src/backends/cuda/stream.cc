#include "backends/cuda/stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cuda/device.h"
#include "base/log.h"

namespace vivace::cuda {

class CudaStream::Graph final : public Recording {
 public:
  Graph(CudaStream& stream, DriverGraph* graph) : stream_(stream), graph_(graph) {}
  ~Graph() override { stream_.driver().destroy(graph_); }
  void replay() noexcept override {
    stream_.busy_ = true;
    stream_.need_all();  // a run that was stopped may have left copies under way, into buffers that the graph fills too
    stream_.check(stream_.driver().launch(graph_, stream_.handle_), "launching the step's graph");
  }

 private:
  CudaStream& stream_;
  DriverGraph* const graph_;
};

CudaStream::CudaStream(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {
  device_->require(driver().create_stream(&handle_), "a stream");
}

CudaStream::~CudaStream() {
  // What is under way uses memory that goes with its owners now.
  need_all();
  if (busy_) (void)driver().synchronize(handle_);
  for (const Chunk& chunk : chunks_) driver().destroy(chunk.event);
  for (DriverEvent* event : mark_events_)
    if (event) driver().destroy(event);
  for (const Lane& lane : lanes_)
    if (lane.end) driver().destroy(lane.end);
  if (begin_) driver().destroy(begin_);
  if (copies_) driver().destroy(copies_);
  driver().destroy(handle_);
}

Driver& CudaStream::driver() const { return device_->driver(); }

void CudaStream::check(Status status, const char* what) noexcept {
  if (status != kSuccess) fail(cat(what, ": ", driver().explain(status)));
}

void CudaStream::fail(const std::string& what) noexcept {
  if (!error_.empty()) return;
  error_ = what;
  failed_ = running_;
}

void CudaStream::launch(BoundKernel& kernel) noexcept {
  busy_ = true;
  running_ = &kernel;
  kernel.run(*this);
  running_ = nullptr;
}

std::shared_ptr<void> CudaStream::pinned_memory(size_t bytes) noexcept {
  try {
    return device_->allocate(bytes, Memory::host);
  } catch (const UserError& error) {
    fail(error.what());
    return nullptr;
  }
}

void CudaStream::next_chunk() {
  if (chunks_.size() < kChunks) {
    Chunk chunk{pinned_memory(kChunk), nullptr, 0};
    if (!chunk.memory) return;
    check(driver().create_event(&chunk.event), "an event");
    chunk_ = chunks_.size();
    chunks_.push_back(std::move(chunk));
    return;
  }
  // Weights, and the noise of many steps: more than the chunks hold.
  chunk_ = (chunk_ + 1) % chunks_.size();
  Status status = driver().query(chunks_[chunk_].event);
  if (status == kNotReady) status = driver().synchronize(chunks_[chunk_].event);
  check(status, "copying to the device");
  chunks_[chunk_].used = 0;
}

void* CudaStream::staging(size_t bytes) {
  constexpr size_t kLine = 64;
  if (chunks_.empty() || kChunk - chunks_[chunk_].used < bytes) next_chunk();
  if (chunks_.empty()) return nullptr;
  void* at = static_cast<char*>(chunks_[chunk_].memory.get()) + chunks_[chunk_].used;
  chunks_[chunk_].used += (bytes + kLine - 1) / kLine * kLine;
  return at;
}

void CudaStream::copy_in(void* to, const void* host, size_t bytes) noexcept {
  busy_ = true;
  for (size_t at = 0; at < bytes; at += kChunk) {
    const size_t piece = std::min(kChunk, bytes - at);
    void* pinned = staging(piece);
    if (!pinned) return;
    std::memcpy(pinned, static_cast<const char*>(host) + at, piece);
    check(driver().copy(static_cast<char*>(to) + at, pinned, piece, Way::to_device, handle_), "copying to the device");
    check(driver().record(chunks_[chunk_].event, handle_), "copying to the device");
  }
}

void CudaStream::copy_out(void* host, const void* from, size_t bytes) noexcept {
  busy_ = true;
  void* to = host;
  if (!device_->is_pinned(host)) {
    landings_.push_back({host, pinned_memory(bytes), bytes});
    if (!(to = landings_.back().pinned.get())) return;
  }
  check(driver().copy(to, from, bytes, Way::to_host, handle_), "copying from the device");
}

void CudaStream::copy(void* to, const void* from, size_t bytes) noexcept {
  busy_ = true;
  check(driver().copy(to, from, bytes, Way::within, handle_), "copying within the device");
}

void CudaStream::ahead(size_t lane, std::span<const HostCopy> copies) noexcept {
  constexpr const char* kWhat = "copying weights to the device";
  busy_ = true;
  auto& [end, needed] = lanes_[lane];
  if (!copies_) check(driver().create_stream(&copies_), "a stream");
  if (!begin_) check(driver().create_event(&begin_), "an event");
  if (!end) check(driver().create_event(&end), "an event");
  if (!copies_ || !begin_ || !end) return;
  check(driver().record(begin_, handle_), kWhat);
  check(driver().wait(copies_, begin_), kWhat);
  for (const HostCopy& copy : copies) check(driver().copy(copy.to, copy.from, copy.bytes, Way::to_device, copies_), kWhat);
  check(driver().record(end, copies_), kWhat);
  needed = false;
}

void CudaStream::need(size_t lane) noexcept {
  lanes_[lane].needed = true;
  if (lanes_[lane].end) check(driver().wait(handle_, lanes_[lane].end), "copying weights to the device");
}

void CudaStream::need_all() noexcept {
  for (size_t lane = 0; lane < kLanes; ++lane)
    if (!lanes_[lane].needed) need(lane);
}

std::unique_ptr<Recording> CudaStream::record(const std::function<void()>& put) {
  if (!error_.empty()) return nullptr;  // which the next wait tells
  DriverGraph* graph = nullptr;
  if (const Status status = driver().begin_capture(handle_); status == kSuccess) {
    put();
    check(driver().end_capture(handle_, &graph), "recording the step");
  } else {
    check(status, "recording the step");
  }
  if (error_.empty()) return std::make_unique<Graph>(*this, graph);
  // What is put has run kernel by kernel before, and goes on so.
  warn(device_->label(), ": the step cannot be one launch, its kernels are launched one by one: ", std::exchange(error_, {}));
  failed_ = nullptr;
  if (graph) driver().destroy(graph);
  return nullptr;
}

int64_t CudaStream::mark() noexcept {
  DriverEvent*& event = mark_events_[static_cast<size_t>(marks_) % kMarks];
  if (!event) check(driver().create_event(&event), "an event");
  check(driver().record(event, handle_), "an event");
  return marks_++;
}

bool CudaStream::passed(int64_t mark) noexcept {
  DriverEvent* const event = mark_events_[static_cast<size_t>(mark) % kMarks];
  if (!event) return true;                      // which failed
  const Status status = driver().query(event);  // an older mark's event has been put further behind
  if (status == kNotReady) return false;
  check(status, "a kernel or a copy failed");
  return true;
}

bool CudaStream::finish() {
  need_all();
  const bool waits = std::exchange(busy_, false);
  if (waits) check(driver().synchronize(handle_), "a kernel or a copy failed");
  if (error_.empty())
    for (const Landing& landing : landings_) std::memcpy(landing.host, landing.pinned.get(), landing.bytes);
  landings_.clear();
  for (Chunk& chunk : chunks_) chunk.used = 0;
  if (!error_.empty()) {
    const std::string what = cat(device_->label(), ": ", std::exchange(error_, {}));
    throw DeviceError(what, std::exchange(failed_, nullptr));
  }
  return waits;
}

}  // namespace vivace::cuda
