// The instruction sets kernels are written for, lowest first. A kernel asks isa() and never runs above it.
#pragma once

#include <string>
#include <string_view>

namespace vivace::cpu {

enum class Isa {
  baseline,     // any x86-64 (SSE2)
  avx2,         // AVX2 + FMA + F16C
  avx512,       // AVX-512 F, BW, DQ, VL, CD
  avx512_bf16,  // the same with BF16 and VNNI
  amx,          // the same with AMX tiles of BF16 and INT8
};
inline constexpr Isa kHighestIsa = Isa::amx;

// The highest level of this machine, lowered by limit_isa().
Isa isa();
// For tests and for comparing: nothing above `limit` is used from now on, in oneDNN too when called before its first use.
void limit_isa(Isa limit);
std::string_view isa_name(Isa isa);

// Instruction set and processor: "avx2, AMD EPYC 7713 64-Core Processor".
std::string machine_text();

}  // namespace vivace::cpu
