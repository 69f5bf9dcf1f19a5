#include "backends/cuda/device.h"

#include <algorithm>

#include "backends/cuda/blas.h"
#include "backends/cuda/dnn.h"
#include "backends/cuda/entries.h"
#include "backends/cuda/libcuda.h"
#include "backends/cuda/stream.h"
#include "backends/ref/device.h"
#include "base/log.h"
#include "base/parallel.h"
#include "vivace/compile.h"

namespace vivace::cuda {
namespace {

constexpr int kOldest = 80;  // Ampere: bfloat16, TF32, cp.async
// Of a fused chain: parameters and registers of a thread, with room to spare.
constexpr int kTileInputs = 6, kTileInstructions = 16;

std::string libraries_of(Driver& driver) {
  const BlasLibrary* blas = driver.blas();
  const DnnLibrary* dnn = driver.dnn();
  return cat(blas ? blas->version() : "no cuBLASLt", ", ", dnn ? dnn->version() : "no cuDNN");
}

double gibibytes(size_t bytes) { return static_cast<double>(bytes) / 0x1p30; }

}  // namespace

CudaDevice::CudaDevice(std::unique_ptr<Driver> driver, std::string label, OpenCollectives open_collectives)
    : driver_(std::move(driver)), label_(std::move(label)), libraries_(libraries_of(*driver_)), open_collectives_(open_collectives) {
  const Properties& gpu = driver_->properties();
  if (gpu.capability < kOldest)
    throw UserError(cat(label_, ": ", gpu.name, " has compute capability ", gpu.capability / 10, '.', gpu.capability % 10,
                        ", the kernels need 8.0 (Ampere) or newer: use --device cpu"));
  kernels_ = entries(*driver_);
  for (KernelEntry entry : ref::device()->kernels()) {
    entry.memory = Memory::host;
    kernels_.push_back(std::move(entry));
  }
}

CudaDevice::~CudaDevice() = default;

Target CudaDevice::target() const {
  const Properties& gpu = driver_->properties();
  const bool tf32 = backends::cudnn::allow_tf32;
  return {.name = "cuda",
          .text = cat("sm_", gpu.capability, ", ", gpu.multiprocessors, " SMs, ", gpu.name, ", ", gpu.versions, ", ", libraries_,
                      tf32 ? ", convolutions in TF32" : ""),
          .level_name = cat("sm_", gpu.capability),
          .level = gpu.capability,
          .threads = num_threads(),
          .bfloat16_products = true,
          .int8_products = true,
          .float8_products = gpu.multiplies_float8(),
          .epilogues = true,
          .gates = true,
          .quantized_rows = true,
          .tile_inputs = kTileInputs,
          .tile_instructions = kTileInstructions,
          .tf32_convolutions = tf32,
          .records = true};
}

void CudaDevice::require(Status status, const char* what) const {
  if (status != kSuccess) throw UserError(cat(label_, ": cannot get ", what, ": ", driver_->explain(status)));
}

void CudaDevice::out_of_memory(size_t bytes) const {
  throw UserError(cat(label_, ": out of memory: ", gibibytes(bytes), " GiB more are needed, ", gibibytes(driver_->free_bytes()), " of ",
                      gibibytes(driver_->properties().memory_bytes),
                      " GiB are free: use a smaller size or batch, bf16, quantisation, VAE tiling or --offload model"));
}

std::shared_ptr<void> CudaDevice::allocate(size_t bytes, Memory memory) {
  if (memory == Memory::host) return allocate_pinned(bytes);
  void* p = nullptr;
  const Status status = driver_->allocate(std::max<size_t>(bytes, 1), &p);
  if (status == kOutOfMemory) out_of_memory(bytes);
  require(status, "memory");
  return {p, [device = shared_from_this()](void* freed) { device->driver_->free(freed); }};
}

std::shared_ptr<void> CudaDevice::allocate_pinned(size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  void* p = nullptr;
  const Status status = driver_->allocate_pinned(bytes, &p);
  if (status == kOutOfMemory)
    throw UserError(cat(label_, ": out of pinned host memory: ", gibibytes(bytes),
                        " GiB more are needed: use bf16 or quantisation, or end what else fills this machine's memory"));
  require(status, "pinned host memory");
  {
    const std::lock_guard lock(mutex_);
    pinned_[static_cast<const char*>(p)] = bytes;
  }
  return {p, [device = shared_from_this()](void* freed) {
            {
              const std::lock_guard lock(device->mutex_);
              device->pinned_.erase(static_cast<const char*>(freed));
            }
            device->driver_->free_pinned(freed);
          }};
}

bool CudaDevice::is_pinned(const void* host) const {
  const auto* at = static_cast<const char*>(host);
  const std::lock_guard lock(mutex_);
  auto next = pinned_.upper_bound(at);
  if (next == pinned_.begin()) return false;
  const auto& [begin, bytes] = *--next;
  return at < begin + bytes;
}

std::unique_ptr<Stream> CudaDevice::stream() { return std::make_unique<CudaStream>(shared_from_this()); }

CollectiveLibrary& CudaDevice::collectives() {
  std::call_once(collectives_once_, [&] { collectives_ = open_collectives_(); });
  return *collectives_;
}

std::shared_ptr<Device> device(int number) {
  // They stay open: at the end of the process the driver is gone before what is static here.
  static auto& open = *new std::map<int, std::shared_ptr<CudaDevice>>;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::shared_ptr<CudaDevice>& found = open[number];
  if (!found) found = std::make_shared<CudaDevice>(open_driver(number), cat("cuda:", number));
  return found;
}

}  // namespace vivace::cuda
