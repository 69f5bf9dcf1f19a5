// Packing of weights: one linear combination of the taps per slot (see ConvPackJob), laid out as the register tile reads them.
#pragma once

#include "backends/cpu/kernels/conv/plan.h"
#include "backends/cpu/kernels/conv/tile.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Element `at` of the packed weights and every kElementsPerUnit-th after it.
VIVACE_INLINE void pack_vector(const double* sums, const ConvPackJob& job, int64_t at) {
  alignas(64) float values[kPanel];
  for (int o = 0; o < kPanel; ++o) values[o] = static_cast<float>(sums[o]);
  if constexpr (kElementsPerUnit == 1) {
    for (int v = 0; v < kPanel; v += kLanes) store_row(LoadU(values + v), job.packed, job.packed_dtype, at + v, kLanes);
  } else {
    alignas(64) Element rounded[kPanel];
    for (int v = 0; v < kPanel; v += kLanes) store_elements(LoadU(values + v), rounded + v);
    for (int o = 0; o < kPanel; ++o) static_cast<Element*>(job.packed)[at + o * kElementsPerUnit] = rounded[o];
  }
}

void pack_panel(const ConvPackJob& job, int64_t panel) {
  constexpr int kMaxTaps = 9;
  const int64_t units = (job.in_channels + kElementsPerUnit - 1) / kElementsPerUnit, first = panel * kPanel;
  const int64_t outputs = job.out_channels - first < kPanel ? job.out_channels - first : kPanel;
  for (int64_t i = 0; i < units * kElementsPerUnit; ++i) {
    float taps[kMaxTaps][kPanel] = {};
    for (int64_t o = 0; i < job.in_channels && o < outputs; ++o) {
      alignas(64) float row[2 * kLanes];
      const int64_t at = ((first + o) * job.in_channels + i) * job.taps;
      for (int v = 0; v < 2; ++v) StoreU(load_row(job.weight, job.dtype, at + v * kLanes, job.taps - v * kLanes), row + v * kLanes);
      for (int t = 0; t < job.taps; ++t) taps[t][o] = row[t];
    }
    for (int slot = 0; slot < job.slots; ++slot) {
      double sums[kPanel] = {};
      for (int t = 0; t < job.taps; ++t) {
        const double c = job.coefficients[slot * job.taps + t];
        if (c == 0) continue;
        for (int o = 0; o < kPanel; ++o) sums[o] += c * static_cast<double>(taps[t][o]);
      }
      const int64_t unit = (panel * job.slots + slot) * units + i / kElementsPerUnit;
      pack_vector(sums, job, unit * kPanel * kElementsPerUnit + i % kElementsPerUnit);
    }
  }
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
