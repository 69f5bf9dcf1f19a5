// Attention at SDXL's shapes in bfloat16: our backends against matmul + softmax + matmul in oneDNN, as GFLOP/s and as a share of the machine's
// measured vdpbf16ps ceiling. All contestants and the ceiling take turns in every round of one run, so that a slow moment hits them alike.
//   attention_bench [ROUNDS] [FILTER]
// With OMP_NUM_THREADS=1 it counts the thread's CPU time, which stays meaningful on a machine that others use too; otherwise wall time.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <dnnl.hpp>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/attention/attention.h"
#include "base/parallel.h"
#include "tensor/half.h"

using namespace vivace;
using namespace vivace::cpu;

namespace {

double now() {
  timespec t;
  clock_gettime(num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Contestant {
  std::string name;
  std::function<void()> run;
  std::vector<double> seconds;
};

// 24 independent accumulators keep the unit busy; nothing is loaded.
__attribute__((target("avx512f,avx512bf16"))) void multiply_registers(int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(
        ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
        "vdpbf16ps %%zmm31, %%zmm30, %%zmm\\r\n"
        ".endr" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
              "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23");
  }
}

// GFLOP/s of bfloat16 dot products on all threads; 0 without the instruction.
double bf16_ceiling() {
  if (isa() != Isa::avx512_bf16) return 0;
  constexpr int64_t kIterations = 500'000;
  const double start = now();
  parallel_threads([&](int, int) { multiply_registers(kIterations); });
  return static_cast<double>(kIterations) * 24 * 64 * num_threads() / (now() - start) * 1e-9;
}

// Q K^T (scaled, bfloat16 scores), softmax in place, P V, on the same strided tensors.
class OneDnnAttention {
 public:
  OneDnnAttention(const AttentionShape& s, const AttentionArgs& a) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const memory::dim d = s.head_dim, width = s.heads * d;
    const auto bf16_type = memory::data_type::bf16;
    const memory::desc q({s.batch, s.heads, s.q_len, d}, bf16_type, memory::dims{s.q_len * width, d, width, 1});
    const memory::desc k({s.batch, s.heads, d, s.kv_len}, bf16_type, memory::dims{s.kv_len * width, d, 1, width});
    const memory::desc v({s.batch, s.heads, s.kv_len, d}, bf16_type, memory::dims{s.kv_len * width, d, width, 1});
    const memory::desc scores({s.batch, s.heads, s.q_len, s.kv_len}, bf16_type, memory::format_tag::abcd);
    dnnl::primitive_attr attr;
    attr.set_output_scales(0, {s.scale});
    first_ = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(q, k, scores), attr, engine_));
    softmax_ = dnnl::softmax_forward(
        dnnl::softmax_forward::primitive_desc(dnnl::softmax_forward::desc(dnnl::prop_kind::forward_inference, scores, 3), engine_));
    second_ = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(scores, v, q), engine_));
    memory_ = {memory(q, engine_, const_cast<void*>(a.q)), memory(k, engine_, const_cast<void*>(a.k)), memory(v, engine_, const_cast<void*>(a.v)),
               memory(q, engine_, a.out), memory(scores, engine_)};
  }
  void run() {
    first_.execute(stream_, {{DNNL_ARG_SRC, memory_[0]}, {DNNL_ARG_WEIGHTS, memory_[1]}, {DNNL_ARG_DST, memory_[4]}});
    softmax_.execute(stream_, {{DNNL_ARG_SRC, memory_[4]}, {DNNL_ARG_DST, memory_[4]}});
    second_.execute(stream_, {{DNNL_ARG_SRC, memory_[4]}, {DNNL_ARG_WEIGHTS, memory_[2]}, {DNNL_ARG_DST, memory_[3]}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul first_, second_;
  dnnl::softmax_forward softmax_;
  std::vector<dnnl::memory> memory_;
};

void bench(const char* title, const AttentionShape& s, int rounds) {
  const int64_t width = s.heads * s.head_dim;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  auto tensor = [&](int64_t tokens) {
    std::vector<bf16> t(static_cast<size_t>(s.batch * tokens * width));
    for (size_t i = 0; i < t.size(); ++i) t[i] = i < 65536 ? bf16(normal(random)) : t[i % 65521];
    return t;
  };
  const std::vector<bf16> q = tensor(s.q_len), k = tensor(s.kv_len), v = tensor(s.kv_len);
  std::vector<bf16> out(q.size());
  AttentionArgs args{.q = q.data(), .k = k.data(), .v = v.data(), .out = out.data()};
  args.q_strides = args.out_strides = {s.q_len * width, width};
  args.k_strides = args.v_strides = {s.kv_len * width, width};

  std::vector<Contestant> contestants;
  std::vector<void*> workspaces;
  auto allocate = [&](size_t bytes) {
    workspaces.push_back(std::aligned_alloc(1 << 21, (bytes + (1 << 21) - 1) >> 21 << 21));
    return workspaces.back();
  };
  for (const AttentionBackend& backend : attention_backends()) {
    if (backend.refuse(s, isa())) continue;
    const Attention attention(backend.kind, s, isa(), num_threads());
    void* workspace = allocate(attention.workspace_bytes());
    contestants.push_back({std::string(backend.name), [&args, attention, workspace] { attention.run(args, workspace); }, {}});
  }
  std::unique_ptr<OneDnnAttention> library;
  try {
    library = std::make_unique<OneDnnAttention>(s, args);
    contestants.push_back({"oneDNN", [&] { library->run(); }, {}});
  } catch (const dnnl::error&) {  // it multiplies no bfloat16 below AVX-512
  }

  std::vector<double> ceilings;
  for (int round = 0; round <= rounds; ++round) {
    if (round > 0) ceilings.push_back(bf16_ceiling());
    for (size_t i = 0; i < contestants.size(); ++i) {
      Contestant& c = contestants[(i + static_cast<size_t>(round)) % contestants.size()];
      const double start = now();
      int calls = 0;
      do {
        c.run();
        ++calls;
      } while (round > 0 && now() - start < 0.02);
      if (round > 0) c.seconds.push_back((now() - start) / calls);  // round 0 warms up
    }
  }
  const double flop = 4. * static_cast<double>(s.batch * s.heads * s.q_len) * static_cast<double>(s.kv_len * s.head_dim);
  const double ceiling = median(ceilings), best_ceiling = *std::max_element(ceilings.begin(), ceilings.end());
  std::printf("%s: batch %d, %d queries, %d keys, %d x %d; ceiling median %.0f best %.0f GFLOP/s\n", title, int(s.batch), int(s.q_len), int(s.kv_len),
              int(s.heads), int(s.head_dim), ceiling, best_ceiling);
  for (Contestant& c : contestants) {
    // Each round against the ceiling of the same round.
    std::vector<double> share;
    for (size_t r = 0; r < c.seconds.size(); ++r) share.push_back(ceilings[r] > 0 ? flop / c.seconds[r] * 1e-7 / ceilings[r] : 0);
    const double middle = median(c.seconds), least = *std::min_element(c.seconds.begin(), c.seconds.end());
    const double best_share = best_ceiling > 0 ? flop / least * 1e-7 / best_ceiling : 0;
    std::printf("  %-14s median %9.3f ms, %5.1f %% of the ceiling; best %9.3f ms, %5.1f %% of the best ceiling\n", c.name.c_str(), middle * 1e3,
                median(share), least * 1e3, best_share);
  }
  std::fflush(stdout);
  for (void* w : workspaces) std::free(w);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 7;
  const std::string filter = argc > 2 ? argv[2] : "";
  struct {
    const char* title;
    int64_t batch, heads, q_len, kv_len, head_dim;
  } const shapes[] = {
      {"self-4096", 1, 10, 4096, 4096, 64},       {"self-4096-batch2", 2, 10, 4096, 4096, 64},
      {"self-1024x20", 1, 20, 1024, 1024, 64},    {"self-1024x20-batch2", 2, 20, 1024, 1024, 64},
      {"self-1024x10", 1, 10, 1024, 1024, 64},    {"self-256x20", 1, 20, 256, 256, 64},
      {"cross-4096", 1, 10, 4096, 77, 64},        {"cross-1024", 1, 20, 1024, 77, 64},
      {"cross-1024-batch2", 2, 20, 1024, 77, 64}, {"vae-512px", 1, 1, 4096, 4096, 512},
      {"sd1-4096", 1, 8, 4096, 4096, 40},         {"flux-1536", 1, 24, 1536, 1536, 128},
      {"emoji-256", 2, 2, 256, 256, 48},
  };
  for (const auto& x : shapes) {
    if (std::string(x.title).find(filter) == std::string::npos) continue;
    const AttentionShape s{x.batch, x.heads, x.q_len, x.kv_len, x.head_dim, bfloat16, false, false, 1.f / std::sqrt(static_cast<float>(x.head_dim))};
    bench(x.title, s, rounds);
  }
}
