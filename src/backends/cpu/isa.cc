#include "backends/cpu/isa.h"

#include <cpuid.h>
#include <dnnl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace vivace::cpu {
namespace {

// Linux lets a process use the tiles' registers after it asked for them.
bool may_use_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25, kAll = kBf16 | kTile | kInt8;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  if (!avx512) return Isa::avx2;
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
  return may_use_amx() ? Isa::amx : Isa::avx512_bf16;
}

std::atomic<Isa> g_limit{kHighestIsa};

}  // namespace

Isa isa() {
  static const Isa detected = detect();
  return std::min(detected, g_limit.load(std::memory_order_relaxed));
}

void limit_isa(Isa limit) {
  g_limit = limit;
  // Refused once oneDNN has run; our own kernels follow the limit either way.
  const dnnl_cpu_isa_t levels[] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core, dnnl_cpu_isa_avx512_core_bf16, dnnl_cpu_isa_all};
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
  constexpr std::string_view names[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};
  return names[static_cast<int>(isa)];
}

}  // namespace vivace::cpu
