// What the driver (attention.cc) and the kernels compiled once per instruction set (level.cc) know of each other.
//
// One source, compiled with the flags of each level (levels.cmake), and not Highway: Debian's Highway 1.0.3 has no target with vdpbf16ps, the
// instruction that carries the speed here. The price is a rule: level.cc includes nothing with inline functions it would share with
// other files (the linker might keep the copy made for the higher level), so its code lives in unnamed namespaces and it exports one table.
#pragma once

#include "backends/cpu/kernels/attention/attention.h"

namespace vivace::cpu {

// Of products of integers: the keys of a block, and the largest of its weights in steps, where Q K^T is of bytes and of 16 bits.
constexpr int64_t kIntKeys = 256;
constexpr float kLargestWeightOfBytes = 32767, kLargestWeightOfWords = 8191;

// Sizes that follow from a shape and an instruction set. A "unit" is 4 bytes along the reduction: one float32 or a pair of bfloat16.
struct AttentionLayout {
  int64_t head_units;    // units in a head's row of Q or K
  int64_t padded_head;   // elements of such a row that products of integers make room for
  int64_t kv_padded;     // keys rounded up to whole panels
  int64_t out_columns;   // head_dim rounded up to whole vectors
  int64_t panels;        // panels of keys a head
  size_t packed_k_head;  // units
  size_t packed_v_head;  // units
  int64_t block_keys;    // keys whose K and V stay in the L2 cache while a block of rows passes over them
  int64_t block_rows;    // query rows a task takes
  size_t scratch_bytes;  // a thread's
};

// A block of query rows of one head.
struct AttentionTask {
  const AttentionShape* shape;
  const AttentionArgs* args;
  const AttentionLayout* layout;
  int64_t batch, head, row, rows;
  const void *packed_k, *packed_v;  // of this head
  void* scratch;
};

// One arithmetic at one level: float32, bfloat16 pairs, or integers.
struct AttentionKernels {
  AttentionLayout (*layout)(const AttentionShape&, AttentionKind, int threads);
  // Packs one panel of keys, and the values of the same tokens, of one head. `scratch` holds pack_scratch_bytes.
  void (*pack_panel)(const AttentionShape&, const AttentionArgs&, const AttentionLayout&, int64_t batch, int64_t head, int64_t panel, void* packed_k,
                     void* packed_v);
  void (*run)(AttentionKind, const AttentionTask&);
  // Before a head's panels, where they need to know all of its keys and values; else null.
  void (*prepare_head)(const AttentionShape&, const AttentionArgs&, const AttentionLayout&, int64_t batch, int64_t head, void* packed_k) = nullptr;
};

namespace baseline {
extern const AttentionKernels kAttention;
}
namespace avx2 {
extern const AttentionKernels kAttention, kAttentionInt16;
}
namespace avx2_vnni {
extern const AttentionKernels kAttentionInt16;
}
namespace avx512 {
extern const AttentionKernels kAttention;
}
namespace avx512_vnni {
extern const AttentionKernels kAttentionInt8, kAttentionInt16;
}
namespace avx512_bf16 {
extern const AttentionKernels kAttention;
}
namespace amx {
extern const AttentionKernels kAttention;
}

}  // namespace vivace::cpu
