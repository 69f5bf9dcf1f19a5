// The instruction sets kernels are written for, lowest first. A kernel asks isa() and never runs above it.
#pragma once

#include <string>
#include <string_view>

namespace vivace::cpu {

enum class Isa {
  baseline,     // any x86-64 (SSE2)
  avx2,         // AVX2 + FMA + F16C
  avx2_vnni,    // the same with AVX-VNNI
  avx512,       // AVX-512 F, BW, DQ, VL, CD
  avx512_vnni,  // the same with VNNI
  avx512_bf16,  // the same with BF16
  amx,          // the same with AMX tiles of BF16 and INT8
};
inline constexpr Isa kHighestIsa = Isa::amx;

// The level that is used: the machine's best, or what limit_isa() says.
Isa isa();
// For tests and for comparing: the highest of the machine's levels that is not above `limit` is used from now on, in oneDNN too when called before
// its first use; the machine's best under kHighestIsa.
void limit_isa(Isa limit);
// Whether the machine can run a level. Its best one need not be the highest: see isa.cc.
bool has_isa(Isa level);
std::string_view isa_name(Isa isa);

// Instruction set and processor: "avx2, AMD EPYC 7713 64-Core Processor".
std::string machine_text();

}  // namespace vivace::cpu
