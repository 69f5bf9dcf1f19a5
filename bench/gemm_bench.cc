// The GEMM at SDXL's linear layers against oneDNN's matmul. All contestants take turns in every round of one run, so that a slow moment of the
// machine hits them alike; ratios are oneDNN's time over ours, and our plain one's over Strassen's, of the medians and of the minima.
//   gemm_bench [ROUNDS] [FILTER]        compare; FILTER is part of a title, such as "bf16" or "geglu"
//   gemm_bench tune [FILTER]            time the candidate blockings of every shape against the default one
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/gemm/gemm.h"
#include "base/parallel.h"
#include "tensor/half.h"

using namespace vivace;
using namespace vivace::cpu;
using dnnl::memory;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Huge pages for everyone: half of the memory traffic is in matrices far larger than what the TLB covers with small ones.
struct Memory {
  size_t bytes;
  void* data;
  explicit Memory(size_t n) : bytes((std::max<size_t>(n, 1) + (1 << 21) - 1) >> 21 << 21), data(std::aligned_alloc(1 << 21, bytes)) {
    madvise(data, bytes, MADV_HUGEPAGE);
    std::memset(data, 0, bytes);
  }
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }
};

struct Shape {
  int64_t m, k, n;
};
// 512²: 1024 tokens of 640, 256 of 1280; 1024²: 4096 of 640, 1024 of 1280; the text's 77 x 2048; a time embedding.
constexpr Shape kPlain[] = {{1024, 640, 640},  {4096, 640, 640},   {1024, 2560, 640}, {4096, 2560, 640}, {256, 1280, 1280}, {1024, 1280, 1280},
                            {256, 5120, 1280}, {1024, 5120, 1280}, {512, 1280, 1280}, {77, 2048, 1280},  {1, 1280, 1280}};
constexpr Shape kGeglu[] = {{1024, 640, 5120}, {4096, 640, 5120}, {256, 1280, 10240}, {1024, 1280, 10240}, {512, 1280, 10240}};

struct Layer {
  std::string title;
  Shape shape;
  GemmSpec spec;
  bool bias, residual;
};

std::vector<Layer> layers() {
  struct Kind {
    const char* name;
    Compute compute;
    DType a, w, c;
  };
  const Kind kinds[] = {{"bf16", Compute::bf16, bfloat16, bfloat16, bfloat16},
                        {"int16-dynamic", Compute::int16_dynamic, bfloat16, bfloat16, bfloat16},
                        {"f32", Compute::f32, float32, float32, float32},
                        {"int8", Compute::int8_dynamic, DType::uint8, DType::int8, bfloat16},
                        {"int8-dynamic", Compute::int8_dynamic, bfloat16, DType::int8, bfloat16},
                        {"float8-dynamic", Compute::float8_dynamic, bfloat16, DType::float8_e4m3, bfloat16},
                        {"bf16x3", Compute::bf16x3, float32, float32, float32},
                        {"bf16-w-int8", Compute::bf16, bfloat16, DType::int8, bfloat16},
                        {"bf16-w-fp8", Compute::bf16, bfloat16, DType::float8_e4m3, bfloat16},
                        {"f32-w-f16", Compute::f32, float32, float16, float32}};
  std::vector<Layer> all;
  auto add = [&](const Kind& kind, const char* epilogue, const Shape& s, bool bias, bool residual, bool geglu) {
    GemmSpec spec{
        .n = s.n, .k = s.k, .a = kind.a, .c = kind.c, .compute = kind.compute, .w = kind.w, .act = geglu ? Act::gelu : Act::none, .geglu = geglu};
    if (gemm_refuse(spec, isa())) return;
    const std::string title =
        std::string(kind.name) + " " + epilogue + " " + std::to_string(s.m) + "x" + std::to_string(s.k) + "x" + std::to_string(s.n);
    all.push_back({title, s, spec, bias, residual});
  };
  for (const Kind& kind : kinds) {
    for (const Shape& s : kPlain) add(kind, "plain", s, false, false, false);
    for (const Shape& s : kPlain) add(kind, "bias+residual", s, true, true, false);
    for (const Shape& s : kGeglu) add(kind, "geglu", s, true, false, true);
  }
  return all;
}

// What both sides work on.
struct Data {
  Memory a, w, bias, c, residual, a_scale;
  Data(const Layer& l)
      : a(l.shape.m * l.shape.k * 4),
        w(l.shape.n * l.shape.k * 4),
        bias(l.shape.n * 4),
        c(l.shape.m * l.shape.n * 4),
        residual(l.shape.m * l.shape.n * 4),
        a_scale(l.shape.m * static_cast<int64_t>(sizeof(RowScale))) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> pool(65521);
    for (float& x : pool) x = normal(random);
    for (int64_t i = 0; i < l.shape.m * l.shape.k; ++i) {
      const float x = pool[static_cast<size_t>(i) % pool.size()];
      if (l.spec.a == bfloat16) static_cast<bf16*>(a.data)[i] = bf16(x);
      if (l.spec.a == float32) static_cast<float*>(a.data)[i] = x;
      if (l.spec.a == DType::uint8) static_cast<uint8_t*>(a.data)[i] = static_cast<uint8_t>(128 + 30 * x);
    }
    for (int64_t i = 0; i < l.shape.n * l.shape.k; ++i) static_cast<float*>(w.data)[i] = pool[static_cast<size_t>(i * 7) % pool.size()] * 0.03f;
    for (int64_t i = 0; i < l.shape.n; ++i) static_cast<float*>(bias.data)[i] = pool[static_cast<size_t>(i)];
    for (int64_t i = 0; i < l.shape.m; ++i) static_cast<RowScale*>(a_scale.data)[i] = {0.03f, 128};
  }
};

class Ours {
 public:
  Ours(const Layer& l, Data& d) : l_(l), d_(d), packed_(gemm_packed_bytes(l.spec)) { gemm_pack(l.spec, d.w.data, float32, packed_.data); }
  void run(const GemmSpec& spec, const GemmBlocking& blocking, void* workspace) {
    GemmCall call{.packed = packed_.data, .a = d_.a.data, .lda = l_.shape.k, .m = l_.shape.m, .c = d_.c.data, .ldc = l_.spec.columns()};
    call.a_scale = static_cast<RowScale*>(d_.a_scale.data);
    if (l_.bias) call.epilogue.bias = static_cast<float*>(d_.bias.data);
    if (l_.residual) call.epilogue.residual = d_.residual.data, call.epilogue.residual_stride = l_.spec.columns();
    call.workspace = workspace, call.blocking = blocking;
    gemm(spec, call);
  }

 private:
  const Layer& l_;
  Data& d_;
  Memory packed_;
};

// oneDNN's matmul with what it can fuse: bias, residual (binary_add), and the weights' scales for int8. GEGLU is a pass of our own over its result.
// The scales of A's rows are left out, and so is the quantisation of a float A, in oneDNN's favour.
class OneDnn {
 public:
  OneDnn(const Layer& l, Data& d, bool s8) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), c_(l.shape.m * l.shape.n * 4) {
    const int64_t m = l.shape.m, k = l.shape.k, n = l.shape.n;
    using type = memory::data_type;
    using tag = memory::format_tag;
    const bool int8 = l.spec.compute == Compute::int8_dynamic, f32 = l.spec.c == float32;
    const type a = int8 ? (s8 ? type::s8 : type::u8) : f32 ? type::f32 : type::bf16, w = int8 ? type::s8 : a, c = f32 ? type::f32 : type::bf16;
    const memory::desc a_desc({m, k}, a, tag::ab), w_desc({k, n}, w, tag::any), c_desc({m, n}, c, tag::ab), bias_desc({1, n}, type::f32, tag::ab);
    dnnl::primitive_attr attr;
    if (int8) attr.set_output_scales(1 << 1, std::vector<float>(static_cast<size_t>(n), 0.001f));
    dnnl::post_ops post;
    if (l.residual) post.append_binary(dnnl::algorithm::binary_add, c_desc);
    attr.set_post_ops(post);
    const auto desc = l.bias ? dnnl::matmul::desc(a_desc, w_desc, bias_desc, c_desc) : dnnl::matmul::desc(a_desc, w_desc, c_desc);
    const dnnl::matmul::primitive_desc pd(desc, attr, engine_);
    implementation = pd.impl_info_str();
    Memory given(k * n * 4);
    for (int64_t i = 0; int8 && i < k * n; ++i) static_cast<float*>(given.data)[i] = static_cast<float>(i * 37 % 255 - 127);
    if (!int8) std::memcpy(given.data, d.w.data, static_cast<size_t>(k * n) * 4);
    weights_ = std::make_unique<Memory>(pd.weights_desc().get_size());
    memory from({{k, n}, type::f32, tag::ba}, engine_, given.data), to(pd.weights_desc(), engine_, weights_->data);
    dnnl::reorder(from, to).execute(stream_, from, to);
    memory out(c_desc, engine_, l.spec.geglu ? c_.data : d.c.data);
    matmul_ = dnnl::matmul(pd);
    args_ = {{DNNL_ARG_SRC, memory(a_desc, engine_, d.a.data)}, {DNNL_ARG_WEIGHTS, to}, {DNNL_ARG_DST, out}};
    if (l.bias) args_[DNNL_ARG_BIAS] = memory(bias_desc, engine_, d.bias.data);
    if (l.residual) args_[DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1] = memory(c_desc, engine_, d.residual.data);
    if (l.spec.geglu) {
      const RowInput value{c_.data, l.spec.c, n}, gate{static_cast<char*>(c_.data) + n / 2 * (f32 ? 4 : 2), l.spec.c, n};
      pass_ = [=, out = RowOutput{d.c.data, l.spec.c, n / 2, nullptr}] {
        gated_rows({.hidden = value, .gate = gate, .rows = m, .channels = n / 2}, out);
      };
    }
    stream_.wait();
  }
  void run() {
    matmul_.execute(stream_, args_);
    stream_.wait();
    if (pass_) pass_();
  }
  std::string implementation;

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  Memory c_;
  std::unique_ptr<Memory> weights_;
  dnnl::matmul matmul_;
  std::unordered_map<int, memory> args_;
  std::function<void()> pass_;
};

struct Contestant {
  std::string name;
  std::function<void()> run;
  std::vector<double> seconds{};

  double median() const {
    std::vector<double> v = seconds;
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  }
  double minimum() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

// Every contestant once a round, for at least `turn` seconds, in an order that rotates.
void take_turns(std::vector<Contestant>& contestants, int rounds, double turn) {
  for (Contestant& c : contestants) c.run();
  for (int r = 0; r < rounds; ++r) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      Contestant& c = contestants[(i + static_cast<size_t>(r)) % contestants.size()];
      c.run();
      const double start = now();
      int runs = 0;
      do {
        c.run();
        ++runs;
      } while (now() - start < turn);
      c.seconds.push_back((now() - start) / runs);
    }
  }
}

void compare(const Layer& l, int rounds) {
  Data data(l);
  Ours ours(l, data);
  GemmSpec strassen = l.spec;
  strassen.strassen = true;
  Memory workspace(std::max(gemm_workspace_bytes(l.spec, l.shape.m, num_threads()), gemm_workspace_bytes(strassen, l.shape.m, num_threads())));
  std::vector<Contestant> contestants{{"vivace", [&] { ours.run(l.spec, {}, workspace.data); }}};
  const bool has_strassen = !gemm_refuse(strassen, isa()) && strassen.uses_strassen(l.shape.m);
  if (has_strassen) contestants.push_back({"strassen", [&] { ours.run(strassen, {}, workspace.data); }});
  std::vector<std::unique_ptr<OneDnn>> onednn;
  const bool int8 = l.spec.compute == Compute::int8_dynamic;
  for (bool s8 : {false, true}) {
    if (s8 && !int8) continue;
    try {
      onednn.push_back(std::make_unique<OneDnn>(l, data, s8));
    } catch (const dnnl::error&) {
      continue;  // no kernel for this processor
    }
    OneDnn* o = onednn.back().get();
    if (o->implementation.starts_with("ref")) continue;  // its reference takes half a minute
    contestants.push_back({(int8 ? (s8 ? "s8s8:" : "u8s8:") : "") + o->implementation, [o] { o->run(); }});
  }
  take_turns(contestants, rounds, 0.01);
  const double flop = 2.0 * static_cast<double>(l.shape.m * l.shape.n) * static_cast<double>(l.shape.k);
  std::printf("%-34s", l.title.c_str());
  for (const Contestant& c : contestants) std::printf(" | %s %.3f ms %.0f GFLOP/s", c.name.c_str(), c.median() * 1e3, flop / c.median() * 1e-9);
  if (has_strassen)
    std::printf(" | strassen: median %.3fx min %.3fx", contestants[0].median() / contestants[1].median(),
                contestants[0].minimum() / contestants[1].minimum());
  const auto others = contestants.begin() + 1 + has_strassen;
  if (others == contestants.end()) {
    std::printf(" | oneDNN has no kernel\n");
    return;
  }
  const Contestant& best = *std::min_element(others, contestants.end(), [](auto& a, auto& b) { return a.minimum() < b.minimum(); });
  std::printf(" | ratio median %.3f min %.3f\n", best.median() / contestants[0].median(), best.minimum() / contestants[0].minimum());
  std::fflush(stdout);
}

std::string print(const GemmBlocking& b) {
  return std::to_string(b.tiles) + "," + std::to_string(b.panels) + "," + std::to_string(b.units) + (b.tile_outer ? " tile_outer" : "") +
         (b.pack_a ? " pack_a" : "");
}

void tune(const Layer& l) {
  Data data(l);
  Ours ours(l, data);
  const std::vector<GemmBlocking> candidates = gemm_blocking_candidates(l.spec, l.shape.m, isa(), num_threads());
  size_t bytes = 0;
  for (const GemmBlocking& b : candidates) bytes = std::max(bytes, gemm_workspace_bytes(l.spec, l.shape.m, num_threads(), b));
  Memory workspace(bytes);
  std::vector<Contestant> contestants;
  for (const GemmBlocking& b : candidates) contestants.push_back({print(b), [&, b] { ours.run(l.spec, b, workspace.data); }});
  take_turns(contestants, 5, 0.003);
  const double first = contestants[0].minimum();
  std::sort(contestants.begin() + 1, contestants.end(), [](auto& a, auto& b) { return a.minimum() < b.minimum(); });
  std::printf("%-34s default %s %.3f ms; best", l.title.c_str(), contestants[0].name.c_str(), first * 1e3);
  for (size_t i = 1; i < std::min<size_t>(contestants.size(), 6); ++i) {
    std::printf(" | %s %.3fx", contestants[i].name.c_str(), first / contestants[i].minimum());
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const bool tuning = argc > 1 && std::strcmp(argv[1], "tune") == 0;
  const int rounds = argc > 1 && !tuning ? std::max(1, std::atoi(argv[1])) : 9;
  const std::string filter = argc > 2 ? argv[2] : "";
  for (const Layer& l : layers()) {
    if (l.title.find(filter) == std::string::npos) continue;
    if (tuning) {
      tune(l);
    } else {
      compare(l, rounds);
    }
  }
}
