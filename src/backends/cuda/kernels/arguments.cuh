// What kernels are given: plain data, the same for the host, which fills it in, and the device. Pointers are the device's; those of absent inputs are
// null. Pitches are in elements.
#pragma once

namespace vivace::cuda {

// Of numbers.cuh: activated().
enum Activation : int { kIdentity, kSilu, kGelu, kGeluTanh, kQuickGelu, kRelu };

enum RowFunction : int { kCopyRow, kLayerNorm, kRmsNorm, kGeglu };

// y = f(x) for each of `heads` equal parts of each row.
struct RowNormArguments {
  const void* x;
  const void* weight;  // [columns], or [columns] of each image
  const void* bias;
  const float* table;  // [tokens, columns] pairs (cos, sin)
  void* y;
  float* scales;   // [rows] of quantised rows
  int* bad_value;  // becomes `step` where a quantised row holds a NaN or an infinity, unless something was there before
  long long rows, x_pitch, y_pitch;
  long long weight_pitch, bias_pitch;  // between images; 0: one for all
  long long tokens;                    // rows of an image
  int columns;                         // of a head, in y
  int heads;
  int function;  // RowFunction
  int step;
  int hadamard;  // quantised rows are turned in blocks of so many values; 0: as they are
  float eps;
};

// Mean and variance of [images, pixels, channels] by group, then y = act((x - mean) / sqrt(variance + eps) * weight + bias).
struct GroupNormArguments {
  const void* x;
  const void* weight;
  const void* bias;
  void* y;
  float* partial;  // [images, chunks, groups, 3]: count, mean, sum of squared differences
  long long pixels, chunk_pixels;
  int channels, groups, chunks;
  int act;  // Activation
  float eps;
};

struct SoftmaxArguments {
  const void* x;
  void* y;
  long long rows, columns, x_pitch, y_pitch;
};

struct RotaryArguments {
  const void* x;
  const float* table;  // [tokens, columns] pairs (cos, sin)
  void* y;
  long long rows, x_pitch, y_pitch, tokens;
  int columns, heads;
};

// y = act(row_scales scales (x w^T) + bias + image_bias) gate + residual; of a GEGLU hidden * act(gate half), and neither of the last two. x is
// [rows, k], or of a convolution the patches of [images, height, width, channels]. Several matrices: blockIdx.z.
struct GemmArguments {
  const void* x;
  const void* w;  // column c at w + c * w_pitch, its k at distances of w_step (1 but for the plain kernel)
  void* y;
  const void* bias;        // [columns]
  const void* image_bias;  // [columns] of each image, as gate of the bias's dtype
  const void* gate;
  const void* residual;     // as y
  const float* row_scales;  // [rows], of quantised rows
  const float* scales;      // [columns], of a weight of 8 bits
  long long rows, rows_per_image;
  long long x_pitch, w_pitch, w_step, y_pitch, residual_pitch, gate_pitch, image_bias_pitch;
  long long x_batch, w_batch, y_batch;  // between matrices
  int columns, k;                       // columns: before GEGLU halves them
  int act;                              // Activation
  // Of convolutions: k is kernel_height * kernel_width * channels, in this order.
  int height, width, channels, out_height, out_width, kernel_height, kernel_width, stride, top, left;
  int upsample;  // 1: of the image with each pixel four times
};

struct AttentionArguments {
  const void* q;
  const void* k;
  const void* v;
  void* y;
  const float* mask;                                                         // [queries, keys] of each image and head
  long long q_image, k_image, v_image, y_image, q_row, k_row, v_row, y_row;  // pitches
  long long mask_image, mask_head;                                           // pitches, 0 where they share one
  int queries, keys, heads, head_size, value_size;
  int causal;
  float scale;
};

inline constexpr int kMostDims = 6;
// out[i] = in[i . strides], dense or strided itself.
struct CopyArguments {
  const void* in;
  void* out;
  long long count;
  long long sizes[kMostDims];  // of out
  long long in_strides[kMostDims], out_strides[kMostDims];
};

struct ElementwiseArguments {
  const void* in[2];
  void* out;
  long long count;
  long long sizes[kMostDims];
  long long strides[2][kMostDims];  // 0 where an input is repeated
  float a, b;                       // scale and shift, min and max
};

// out[i, :] = table[clamp(ids[i]) + i * base, :].
struct GatherArguments {
  const void* table;
  const int* ids;
  void* out;
  long long rows, entries, base;
  long long row_bytes;
};

struct UpsampleArguments {
  const void* in;
  void* out;
  long long images, height, width, out_height, out_width, pixel_bytes;
};

// Searches a row of ids: its first largest one, or the first that is `value`, 0 without one.
struct FindArguments {
  const int* ids;
  int* out;
  int rows, columns, value, largest;
};

struct DequantizeArguments {
  const void* in;
  const float* scales;  // [rows]; null: 1
  void* out;
  long long rows, columns;
};

// A weight's rows to 8 bits and a scale each, by tensor/narrow_weight.h.
struct QuantizeWeightArguments {
  const void* in;  // [rows, columns]
  void* out;       // the same
  float* scales;   // [rows]
  long long rows;
  int columns;
  int hadamard;       // rows are turned in blocks of so many values first; 0: as they are
  int pairs;          // the size is no less than largest_pair()
  int geglu;          // row r of `out` is row geglu_row(r) of `in` (gemm.h)
  int scales_follow;  // scales in the order of `out`, else of `in`
};

struct ReduceArguments {
  const void* in;
  void* out;
  long long count, reduced;  // results, elements of each
  long long kept_sizes[kMostDims], kept_strides[kMostDims], reduced_sizes[kMostDims], reduced_strides[kMostDims];
  float factor;  // of the sum
};

enum TableKind : int { kFill, kCausalMask, kSinusoid, kRotaryTable, kRelativePositionBias };
struct TableArguments {
  const void* in;
  void* out;
  long long count;
  int columns;  // of the result; keys of a mask
  int heads, buckets, max_distance;
  int dims[8];  // of a rotary table: of each axis
  int axes;
  int flip;
  double value;  // to fill with; theta; the shift of a sinusoid's frequencies
  float scale;
};

// LoopState and its rows as runtime/step_loop.h has them.
struct LoopState {
  const int* table;
  float* slots;
  const float* kept;
  int row_words, row, bad_row, unused;
};
enum LoopSlot : int { kLatents = 0, kPredicted = 1, kNextLatents = 3 };
enum LoopWord : int {
  kStepWord,
  kInputScaleWord,
  kGuidanceWord,
  kRescaleWord,
  kKeptPictureWord,
  kKeptNoiseWord,
  kAddedWord,
  kCombinationsWord = kAddedWord + 4,
  kFirstWord
};

// Latents times this row's factor, and what lies beside them -> the model's input; what it is told of the step.
struct FeedArguments {
  const LoopState* state;
  void* input;
  int* step;
  const float* beside;
  long long count;  // of the input's elements
  long long images, channels, beside_channels, pixels;
};

// What models that ran in this step give to an input of the next: their sum, times each one's scale of the row and `depth`.
struct AddArguments {
  const LoopState* state;
  void* to;
  long long count;
  const void* from[4];
  long long counts[4];  // of each; it is added to the last elements
  int models;
  float depth;
};

// The prediction, guided where there is a negative one.
struct GuideArguments {
  LoopState* state;
  const void *positive, *negative;
  long long count;  // of the latents
  long long channels, pixels;
};

// This row's combinations, the next latents.
struct FinishArguments {
  LoopState* state;
  long long count;  // of the latents
  long long channels, pixels;
};

// The row is done.
struct AdvanceArguments {
  LoopState* state;
};

}  // namespace vivace::cuda
