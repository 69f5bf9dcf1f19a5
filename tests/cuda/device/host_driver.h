// The driver of a GPU that is none: streams whose work is done as late as a driver may do it, events, capture and replay of graphs, memory that the
// host cannot touch, pinned memory, and the own kernels, run from their own sources by the fibers of tests/cuda/host. What a real driver would
// refuse, or would wait for unasked, is an error here.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "../../devices/guarded_memory.h"
#include "backends/cuda/blas.h"
#include "backends/cuda/dnn.h"
#include "backends/cuda/driver.h"
#include "base/cache_folder.h"

namespace vivace::cuda {

class HostDriver final : public Driver {
 public:
  struct Options {
    size_t memory_bytes = size_t{8} << 30, pinned_bytes = size_t{8} << 30;
    int capability = 90;
    unsigned seed = 1;               // of the order in which lanes and blocks of a kernel run
    bool libraries = true;           // those that the build has headers for
    bool packed_tensors = false;     // cuDNN's convolutions take no pitches
    bool image_biases = true;        // and a bias of each image
    CacheFolder dnn_plans{};         // where its plans are kept
    std::string failing;             // kernels whose name holds this are not launched: an error
    std::string failing_in_capture;  // that cannot be captured
    bool failing_late = false;       // they fail when they run, as one that leaves its memory does
    bool early = false;              // what is on other streams than the one that is waited for is done as soon as it may be, instead of as late
    bool forgets_waits = false;      // those of one stream for another
  };
  struct Counts {
    int64_t waits = 0;  // for streams and events: all that blocks
    int64_t queries = 0;
    int64_t launches = 0, copies = 0, captures = 0, graph_launches = 0, allocations = 0;
    int64_t dnn_plans = 0;  // that were built
    size_t most_bytes = 0;  // of its memory that were taken at a time
  };

  explicit HostDriver(Options options);
  HostDriver() : HostDriver(Options{}) {}
  ~HostDriver() override;
  Counts counts() const;
  const Options& options() const { return options_; }
  void count_dnn_plan();

  const Properties& properties() const override { return properties_; }
  std::string explain(Status status) const override;
  Status allocate(size_t bytes, void** memory) override;
  void free(void* memory) override;
  Status allocate_pinned(size_t bytes, void** memory) override;
  void free_pinned(void* memory) override;
  size_t free_bytes() override;
  Status create_stream(DriverStream** stream) override;
  void destroy(DriverStream* stream) override;
  Status synchronize(DriverStream* stream) override;
  Status synchronize(DriverEvent* event) override;
  Status create_event(DriverEvent** event) override;
  void destroy(DriverEvent* event) override;
  Status record(DriverEvent* event, DriverStream* stream) override;
  Status wait(DriverStream* stream, DriverEvent* event) override;
  Status query(DriverEvent* event) override;
  Status copy(void* to, const void* from, size_t bytes, Way way, DriverStream* stream) override;
  DriverFunction* load(const Launch& launch) override;
  DriverFunction* load(const TileKernel& kernel) override;
  Status launch(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes,
                DriverStream* stream) override;
  Status begin_capture(DriverStream* stream) override;
  Status end_capture(DriverStream* stream, DriverGraph** graph) override;
  Status launch(DriverGraph* graph, DriverStream* stream) override;
  void destroy(DriverGraph* graph) override;
  std::vector<MemoryLabel>* labels() override { return &memory_.labels; }
  BlasLibrary* blas() override { return blas_.get(); }
  DnnLibrary* dnn() override { return dnn_.get(); }
  void enter() const override;
  // The one that the thread entered last.
  static HostDriver& entered();

  // Work of a library, done in the stream's order; kNotReady while it waits for another device.
  using Work = std::function<Status()>;
  Status put(DriverStream* stream, Work work);
  bool captures(DriverStream* stream);

 private:
  // Of a graph: what is put on one stream, among it places of other branches to wait for.
  struct Branch {
    struct Item {
      Work work;  // or none, behind the place `at` of `branch`
      size_t branch = 0, at = 0;
    };
    std::vector<Item> items;
  };
  struct Stream {
    struct Item {
      Work work;  // or none, behind the place `at` of `behind`
      Stream* behind = nullptr;
      int64_t at = 0;
    };
    std::deque<Item> queue;
    int64_t put = 0, done = 0;  // pieces of work since it was made
    bool at_work = false;
    std::shared_ptr<std::vector<Branch>> capture;  // of all streams that are in it; nullptr: none
    size_t branch = 0;
    bool capture_broken = false;
  };
  struct Event {
    Stream* stream = nullptr;
    int64_t behind = 0;
    bool asked = false;
    std::shared_ptr<std::vector<Branch>> capture;  // it was recorded in one: behind the place `behind` of `branch`
    size_t branch = 0;
  };
  struct Function {
    std::string name;
    std::function<void(const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments)> run;
  };
  struct Graph {
    std::vector<Branch> branches;
    std::vector<Stream> streams;  // by branch, but for the first, which is done on the stream that the graph is launched on
  };
  Stream& of(DriverStream* stream) { return *reinterpret_cast<Stream*>(stream); }
  void count_wait();
  // As far as it comes, kNotReady where that is not all.
  Status run_until(Stream& stream, int64_t done);
  Status wait_until(Stream& stream, int64_t done);
  // False where that waits for another device.
  bool work_until(Stream& stream, int64_t done);
  bool work_one(Stream& stream);
  void add(Stream& stream, Stream::Item item);
  DriverFunction* keep(const std::string& key, Function function);

  const Options options_;
  Properties properties_;
  GuardedMemory memory_;
  mutable std::recursive_mutex mutex_;  // of what follows
  std::set<Stream*> streams_;
  std::vector<std::unique_ptr<Graph>> destroyed_;  // which may be under way yet
  std::map<void*, size_t> allocated_;
  size_t allocated_bytes_ = 0, pinned_bytes_ = 0;
  std::map<const char*, size_t> pinned_;
  std::map<std::string, std::unique_ptr<Function>> functions_;
  Status broken_ = kSuccess;  // after a kernel failed everything does
  Counts counts_;
  std::unique_ptr<BlasLibrary> blas_;
  std::unique_ptr<DnnLibrary> dnn_;
};

// cuBLASLt and cuDNN on the host; nullptr in a build without their headers.
std::unique_ptr<BlasLibrary> host_blas(HostDriver& driver);
std::unique_ptr<DnnLibrary> host_dnn(HostDriver& driver);

}  // namespace vivace::cuda
