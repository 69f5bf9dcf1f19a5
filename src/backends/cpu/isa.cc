#include "backends/cpu/isa.h"

#include <dnnl.h>

#include <algorithm>
#include <atomic>

namespace vivace::cpu {
namespace {

Isa detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  if (!avx512) return Isa::avx2;
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") ? Isa::avx512_bf16 : Isa::avx512;
}

std::atomic<Isa> g_limit{Isa::avx512_bf16};

}  // namespace

Isa isa() {
  static const Isa detected = detect();
  return std::min(detected, g_limit.load(std::memory_order_relaxed));
}

void limit_isa(Isa limit) {
  g_limit = limit;
  // Refused once oneDNN has run; our own kernels follow the limit either way.
  const dnnl_cpu_isa_t levels[] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core, dnnl_cpu_isa_all};
  (void)dnnl_set_max_cpu_isa(levels[static_cast<int>(limit)]);
}

std::string_view isa_name(Isa isa) {
  constexpr std::string_view names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

}  // namespace vivace::cpu
