#include "backends/cpu/device.h"

#include <vector>

#include "backends/cpu/entries.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "backends/cpu/peak.h"
#include "backends/host_device.h"
#include "backends/ref/device.h"
#include "base/log.h"
#include "base/parallel.h"

namespace vivace::cpu {
namespace {

// Of a fused chain: its inputs and results have registers of their own, with room to spare.
constexpr int kFusedInputs = 6;

class CpuDevice final : public HostDevice {
 public:
  CpuDevice() {
    for (const auto entries : {linear_entries(), conv_entries(), onednn_entries(), norm_entries(), attention_entries(), elementwise_entries(),
                               movement_entries(), axis_entries(), ref::device()->kernels()})
      kernels_.insert(kernels_.end(), entries.begin(), entries.end());
  }

  Target target() const override {
    const int threads = num_threads();
    return {.name = "cpu",
            .text = cat(machine_text(), ", ", threads, " threads"),
            .level_name = std::string(isa_name(isa())),
            .level = static_cast<int>(isa()),
            .threads = threads,
            .bfloat16_products = isa() >= Isa::avx512_bf16,
            .int16_products = isa() >= Isa::avx2 && isa() < Isa::amx,
            .int8_products = isa() >= Isa::avx2,
            .epilogues = true,
            .gates = isa() >= Isa::avx2,
            .blocks = isa() >= Isa::avx2,
            .quantized_rows = true,
            .tile_inputs = kFusedInputs,
            .tile_instructions = kTileRegisters - kFusedInputs - 2};
  }
  std::optional<MachinePeak> measure_peak() override { return cpu::measure_peak(); }
  std::span<const KernelEntry> kernels() const override { return kernels_; }

 private:
  std::vector<KernelEntry> kernels_;
};

}  // namespace

const std::shared_ptr<Device>& device() {
  static const std::shared_ptr<Device> value = std::make_shared<CpuDevice>();
  return value;
}

}  // namespace vivace::cpu
