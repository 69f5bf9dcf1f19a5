#include "backends/cpu/isa.h"

#include <cpuid.h>
#include <dnnl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>

namespace vivace::cpu {
namespace {

bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAvxVnni = 1U << 4;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni) != 0;
}

// Linux lets a process use the tiles' registers after it asked for them.
bool may_use_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25, kAll = kBf16 | kTile | kInt8;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// A bit for every level that the machine can run.
unsigned detect() {
  __builtin_cpu_init();
  unsigned levels = 1U << static_cast<int>(Isa::baseline);
  const auto add = [&](Isa level) { levels |= 1U << static_cast<int>(level); };
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return levels;
  add(Isa::avx2);
  if (has_avx_vnni()) add(Isa::avx2_vnni);
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  if (!avx512) return levels;
  add(Isa::avx512);
  if (!__builtin_cpu_supports("avx512vnni")) return levels;
  add(Isa::avx512_vnni);
  if (!__builtin_cpu_supports("avx512bf16")) return levels;
  add(Isa::avx512_bf16);
  if (may_use_amx()) add(Isa::amx);
  return levels;
}

unsigned levels() {
  static const unsigned detected = detect();
  return detected;
}

Isa highest_of(unsigned levels) { return static_cast<Isa>(std::bit_width(levels) - 1); }

// Intel's vdpbf16ps does at most what its float32 units do (Emerald Rapids: 95 GOP/s a thread beside 191 in float32 and 394 with vpdpwssd): bfloat16
// is for the tiles there, and without them the level below is faster.
Isa best() {
  static const Isa found = [] {
    const Isa highest = highest_of(levels());
    return highest == Isa::avx512_bf16 && __builtin_cpu_is("intel") ? Isa::avx512_vnni : highest;
  }();
  return found;
}

std::atomic<Isa> g_limit{kHighestIsa};

}  // namespace

Isa isa() {
  const Isa limit = g_limit.load(std::memory_order_relaxed);
  return limit == kHighestIsa ? best() : highest_of(levels() & ((2U << static_cast<int>(limit)) - 1));
}

bool has_isa(Isa level) { return levels() >> static_cast<int>(level) & 1; }

void limit_isa(Isa limit) {
  g_limit = limit;
  // Refused once oneDNN has run; our own kernels follow the limit either way.
  const dnnl_cpu_isa_t onednn[] = {dnnl_cpu_isa_sse41,
                                   dnnl_cpu_isa_avx2,
                                   dnnl_cpu_isa_avx2_vnni,
                                   dnnl_cpu_isa_avx512_core,
                                   dnnl_cpu_isa_avx512_core_vnni,
                                   dnnl_cpu_isa_avx512_core_bf16,
                                   dnnl_cpu_isa_all};
  (void)dnnl_set_max_cpu_isa(onednn[static_cast<int>(limit)]);
}

std::string machine_text() {
  // Asked once: a virtual machine leaves its processor for each of these instructions, which takes it longer than a small kernel.
  static const std::string processor = [] {
    // The processor's brand: 48 characters in twelve registers, where the processor has one.
    unsigned brand[12] = {};
    if (__get_cpuid_max(0x80000000, nullptr) >= 0x80000004)
      for (unsigned i = 0; i < 3; ++i) __get_cpuid(0x80000002 + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2], &brand[4 * i + 3]);
    std::string name(reinterpret_cast<const char*>(brand), sizeof(brand));
    name.resize(std::min(name.find('\0'), name.size()));
    return name.substr(0, name.find_last_not_of(' ') + 1);
  }();
  return std::string(isa_name(isa())) + ", " + processor;
}

std::string_view isa_name(Isa isa) {
  constexpr std::string_view names[] = {"baseline", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx"};
  return names[static_cast<int>(isa)];
}

}  // namespace vivace::cpu
