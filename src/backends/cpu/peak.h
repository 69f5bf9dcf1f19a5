// What the machine can do at most, measured: the ceiling that `vivace profile` holds kernels against.
#pragma once

namespace vivace::cpu {

// On num_threads() threads at isa(). Operations count a multiply-add as 2.
struct MachinePeak {
  double float32 = 0, bfloat16 = 0, int16 = 0, int8 = 0;  // operations a second out of registers, in the arithmetic that our kernels use for them
  double bytes = 0;                                       // a second, read from memory
};

// Takes about 0.2 s.
MachinePeak measure_peak();

}  // namespace vivace::cpu
