// Target: what a graph is compiled for, as far as passes and kernels may know it.
#pragma once

#include <string>

namespace vivace {

// Of a device, now: the CPU's follows set_num_threads() and limit_isa().
struct Target {
  std::string name;        // "cpu", "cuda": Plan::backend
  std::string text;        // "avx512_bf16, AMD EPYC 9554, 2 threads"; "sm_90, 132 SMs": in every key of plans, tunings and measurements
  std::string level_name;  // "avx512_bf16", "sm_90": what packed weights and packages are for
  int level = 0;           // in the order of the device's own list
  int threads = 1;         // of the host that a kernel runs on
  // Narrower products that are faster than float32's; of int16 where they are no slower than bfloat16's either.
  bool bfloat16_products = false, int16_products = false, int8_products = false, float8_products = false;
  // What its kernels take into one trip, so that passes make such nodes.
  bool epilogues = false;                      // linears and convolutions what follows them, norms their activation, scale and shift
  bool gates = false;                          // linears what multiplies them: the other half of their rows, a vector of each image
  bool blocks = false;                         // linears weights in blocks of several values, as they are stored
  bool quantized_rows = false;                 // norms and gates write rows of 8 bits
  int tile_inputs = 0, tile_instructions = 0;  // of a chain of elementwise ops at most; 0: none
  bool tf32_convolutions = false;              // float32 convolutions may multiply as TF32 (backends::cudnn::allow_tf32)
  bool records = false;                        // a step of the loop is cheaper as one launch (Stream::record)
};

}  // namespace vivace
