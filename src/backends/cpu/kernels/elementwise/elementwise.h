// Moving and converting activations: layouts, upsampling, gathers, and small fixed formulas. Chains of elementwise operations, casts among them,
// are tile programs (tile.h). Float types are float32, bfloat16 and float16 in any combination of input and output unless stated.
// Nothing allocates or throws; input and output do not overlap unless stated. What is stopped leaves its output unfinished.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/norm/quantize.h"

namespace vivace::cpu {

// y[r] = hidden[r] * act(gate[r]) for [rows, channels]: GEGLU with hidden and gate the halves of one row (PyTorch's chunk(2)), and its
// relatives. Return as in quantize.h.
struct GatedRows {
  RowInput hidden, gate;
  int64_t rows = 0, channels = 0;
  Act act = Act::gelu;
};
int64_t gated_rows(const GatedRows& gated, const RowOutput& y, Stop stop = nullptr) noexcept;

// NHWC images, `stride` elements between pixels, rows and images following without gaps; x and y of one dtype. Every output pixel is the input
// pixel that torch.nn.functional.interpolate(mode="nearest", size=...) takes.
struct Upsample {
  RowInput x;
  int64_t images = 1, height = 0, width = 0, channels = 0, out_height = 0, out_width = 0;
};
void upsample_nearest(const Upsample& upsample, const RowOutput& y, Stop stop = nullptr) noexcept;
// The input index of output index i in that mode.
int64_t nearest_index(int64_t i, int64_t in, int64_t out) noexcept;

// [batch, rows, columns] with a row stride -> [batch, columns, rows] with a row stride; batches follow at rows * x.stride and columns * y.stride.
// NCHW to NHWC: rows = channels, columns = pixels; NHWC to NCHW: the other way.
void transpose(const RowInput& x, int64_t batch, int64_t rows, int64_t columns, const RowOutput& y) noexcept;

// y[i] = table[ids[i]]; ids in range (int32 or int64).
void embedding_rows(const RowInput& table, int64_t channels, const void* ids, DType ids_dtype, int64_t count, const RowOutput& y) noexcept;

// Diffusers' get_timestep_embedding: y is [count, channels] float32, channels even or odd (the last one then zero).
struct TimestepEmbedding {
  int64_t channels = 0;
  bool flip_sin_to_cos = false;
  float downscale_freq_shift = 1.f, scale = 1.f;
  int max_period = 10000;
};
void timestep_embedding(const TimestepEmbedding& embedding, const float* timesteps, int64_t count, float* y) noexcept;

}  // namespace vivace::cpu
