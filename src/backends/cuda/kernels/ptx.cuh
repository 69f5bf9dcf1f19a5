// What kernels ask of the GPU beyond plain C++: warps, shared memory, asynchronous copies, tensor cores, conversions. The only file with PTX in it.
// Each function has a twin for the host (tests/cuda/host/host_cuda.h), so that a kernel's source is compiled and run there too. Warps are always
// whole.
#pragma once

// Before loops over arrays that are to be registers: a loop that stays one puts them into memory.
#define UNROLL _Pragma("unroll")

namespace vivace::cuda {

// All of a block's shared memory: as many bytes as its launch says, aligned to 128.
__device__ inline char* shared_memory() {
  extern __shared__ __align__(128) char block_memory[];
  return block_memory;
}

// On the host, the check that a wide access is aligned.
__device__ inline void expect_aligned(const void*, int) {}

template <class T>
__device__ inline T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}
template <class T>
__device__ inline T shuffle(T x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}
__device__ inline bool any_of_warp(bool x) { return __any_sync(0xffffffffu, x); }
__device__ inline void warp_barrier() { __syncwarp(); }
__device__ inline int exchange_if(int* at, int expected, int value) { return atomicCAS(at, expected, value); }

__device__ inline unsigned bits_of(float x) { return __float_as_uint(x); }
__device__ inline float float_of(unsigned bits) { return __uint_as_float(bits); }
// 2^x to about 2 units in the last place.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// a / b to 2 units in the last place, without the call that an exact division is; 0 where b is over 2^126.
__device__ inline float fast_divide(float a, float b) { return __fdividef(a, b); }
// Rounded to nearest even.
__device__ inline int round_to_int(float x) { return __float2int_rn(x); }
// A product and a sum that round each on their own.
__device__ inline float mul_rounded(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float add_rounded(float a, float b) { return __fadd_rn(a, b); }

__device__ inline unsigned short bf16_bits(float x) {
  unsigned short y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
__device__ inline unsigned short f16_bits(float x) {
  unsigned short y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
__device__ inline float f16_value(unsigned short bits) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
  return y;
}
// Two conversions as one; `low` lies in the lower half.
__device__ inline unsigned bf16_pair(float low, float high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
__device__ inline unsigned f16_pair(float low, float high) {
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory, both aligned to 16; zeros where not `valid`, and then `from` is not read. There after copy_async_wait().
__device__ inline void copy_async_16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}
// Closes a group of copies.
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All of this thread's groups but the `left` newest are there. Other threads see them after a barrier.
template <int left>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

// Four 8x8 tiles of 16-bit elements: lane 8 j + r gives the address of row r of tile j (16 bytes), and lane l gets the elements 2 (l % 4) and the
// next of row l / 4 of each tile; transposed: the elements of column l / 4 instead.
__device__ inline void load_tiles(unsigned (&x)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_tiles_transposed(unsigned (&x)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b, a [16, 16], b [16, 8]. Lane l holds of a the rows l / 4 (x[0], x[2]) and l / 4 + 8 (x[1], x[3]) at columns 2 (l % 4) and the next (x[0],
// x[1]) or 8 further (x[2], x[3]); of b the rows 2 (l % 4) and the next (x[0]) or 8 further (x[1]) at column l / 4; of c the rows l / 4 (c[0], c[1])
// and l / 4 + 8 at columns 2 (l % 4) and the next.
__device__ inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same with two bytes in place of each 16-bit element: a [16, 32], b [32, 8], signed.
__device__ inline void multiply_int8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// As multiply_int8, of float8 e4m3. Only from sm_89 on: no launch asks for it before.
__device__ inline void multiply_float8(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 890
  asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();
#endif
}

}  // namespace vivace::cuda
