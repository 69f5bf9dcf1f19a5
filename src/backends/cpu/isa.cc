#include "backends/cpu/isa.h"

#include <cpuid.h>
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

std::string machine_text() {
  // The processor's brand: 48 characters in twelve registers, where the processor has one.
  unsigned brand[12] = {};
  if (__get_cpuid_max(0x80000000, nullptr) >= 0x80000004)
    for (unsigned i = 0; i < 3; ++i) __get_cpuid(0x80000002 + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2], &brand[4 * i + 3]);
  std::string name(reinterpret_cast<const char*>(brand), sizeof(brand));
  name.resize(std::min(name.find('\0'), name.size()));
  return std::string(isa_name(isa())) + ", " + name.substr(0, name.find_last_not_of(' ') + 1);
}

std::string_view isa_name(Isa isa) {
  constexpr std::string_view names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

}  // namespace vivace::cpu
