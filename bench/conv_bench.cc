// Our convolutions against oneDNN's direct ones at the shapes of SDXL, interleaved in one run, with the machine's ceiling measured in the same
// rounds. conv_bench [words of a shape's name or dtype...] [--rounds=N] [--cpu-time]; prints for each contestant the least time, its share of the
// ceiling counted in the arithmetic of a direct convolution (Winograd may pass 100 %), and how much faster than the best of oneDNN it was: of
// least times, and the median over the rounds.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/kernels/conv/plan.h"
#include "base/parallel.h"
#include "tensor/half.h"

namespace {

using namespace vivace;
using namespace vivace::cpu;

struct Shape {
  const char* name;
  int64_t h, w, in_channels, out_channels;
  bool upsample = false;
  int stride = 1, kernel = 3;
  bool post = false;  // residual added and, where our kernel can, GroupNorm and SiLU read in; oneDNN adds the residual alone
  int depth =
      1;  // frames that a convolution of a video sees: ours in one run over the channels of all, oneDNN's too, and ours in a run a frame, summed
};

constexpr Shape kShapes[] = {
    {"unet512", 64, 64, 320, 320},
    {"unet512", 32, 32, 640, 640},
    {"unet512", 16, 16, 1280, 1280},
    {"unet512", 64, 64, 960, 320},
    {"unet512", 32, 32, 1920, 640},
    {"unet512 residual", 64, 64, 320, 320, false, 1, 3, true},
    {"unet512 upsample", 32, 32, 640, 640, true},
    {"unet512 upsample", 16, 16, 1280, 1280, true},
    {"unet512 downsample", 64, 64, 320, 320, false, 2},
    {"unet512 first", 64, 64, 4, 320},
    {"unet512 last", 64, 64, 320, 4},
    {"unet1024", 128, 128, 320, 320},
    {"unet1024", 64, 64, 640, 640},
    {"unet1024", 32, 32, 1280, 1280},
    {"unet1024", 128, 128, 960, 320},
    {"unet1024", 64, 64, 1920, 640},
    {"vae512", 64, 64, 512, 512},
    {"vae512", 128, 128, 512, 512},
    {"vae512", 256, 256, 512, 256},
    {"vae512", 256, 256, 256, 256},
    {"vae512", 512, 512, 256, 128},
    {"vae512", 512, 512, 128, 128},
    {"vae512 residual", 512, 512, 128, 128, false, 1, 3, true},
    {"vae512 last", 512, 512, 128, 3},
    {"vae512 upsample", 64, 64, 512, 512, true},
    {"vae512 upsample", 128, 128, 512, 512, true},
    {"vae512 upsample", 256, 256, 256, 256, true},
    {"vae512 shortcut", 256, 256, 512, 256, false, 1, 1},
    // CogVideoX's VAE at 240 x 360.
    {"video", 30, 45, 512, 512, false, 1, 3, false, 3},
    {"video", 60, 90, 256, 256, false, 1, 3, false, 3},
    {"video", 120, 180, 256, 256, false, 1, 3, false, 3},
    {"video", 240, 360, 128, 128, false, 1, 3, false, 3},
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<void, Free>;
Buffer allocate(size_t bytes) {
  Buffer buffer(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  std::memset(buffer.get(), 0, bytes);
  return buffer;
}

// --cpu-time: processor time of all threads, divided by their number. It still tells contestants apart while others use the machine, as long as
// idle threads sleep (OMP_WAIT_POLICY=passive); a contestant's idle threads go unseen.
bool g_cpu_time = false;

double now() {
  if (!g_cpu_time) return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec)) / num_threads();
}

double seconds(const std::function<void()>& body) {
  const double start = now();
  body();
  return now() - start;
}

// 24 independent accumulators on every thread: what the multiplier units can do at best, in FLOP/s.
#define PEAK_LOOP(instruction)                                                                                                                      \
  asm volatile(                                                                                                                                     \
      "vpxord %%zmm30,%%zmm30,%%zmm30\n vpxord %%zmm31,%%zmm31,%%zmm31\n 1:\n"                                                                      \
      ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n " instruction                                                         \
      " %%zmm31,%%zmm30,%%zmm\\r\n.endr\n"                                                                                                          \
      "dec %0\n jnz 1b"                                                                                                                             \
      : "+r"(n)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
        "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm30", "xmm31")
__attribute__((target("avx512f"))) void peak_loop(bool bf16_products, int64_t n) {
  if (bf16_products)
    PEAK_LOOP("vdpbf16ps");
  else
    PEAK_LOOP("vfmadd231ps");
}
double ceiling(bool bf16_products) {
  if (isa() < (bf16_products ? Isa::avx512_bf16 : Isa::avx512)) return 0;
  constexpr int64_t kTurns = 300000;
  const double t = seconds([&] { parallel_threads([&](int, int) { peak_loop(bf16_products, kTurns); }); });
  return 24. * kTurns * 16 * (bf16_products ? 4 : 2) * num_threads() / t;
}

// Below AVX-512 BF16 bfloat16 is storage.
bool multiplies_bf16(DType dtype) { return dtype == DType::bfloat16 && isa() >= Isa::avx512_bf16; }

struct Contestant {
  std::string name;
  bool onednn;
  std::function<void()> run;
  std::vector<double> times = {};
};

// Random operands of one shape, in its dtype and in float32.
struct Operands {
  Buffer x, y, residual, weight;
  std::vector<float> bias, scale, shift;
};

void fill(void* data, DType dtype, int64_t count, float size) {
  uint32_t state = 12345;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    const float v = size * (static_cast<float>(state >> 8) * 0x1p-23f - 1.f);
    if (dtype == DType::float32)
      static_cast<float*>(data)[i] = v;
    else
      static_cast<bf16*>(data)[i] = bf16(v);
  }
}

// `any`: oneDNN chooses the layouts of x and y too; reordering into them is not counted. With upsampling the large image is given.
Contestant onednn(const Shape& s, DType dtype, const Operands& o, bool any) {
  using namespace dnnl;
  using Tag = memory::format_tag;
  static engine cpu(engine::kind::cpu, 0);
  static stream queue(cpu);
  const auto type = dtype == DType::float32 ? memory::data_type::f32 : memory::data_type::bf16;
  const int64_t up = s.upsample ? 2 : 1, h = s.h * up, w = s.w * up, oh = h / s.stride, ow = w / s.stride, k = s.kernel, pad = k / 2;
  const int64_t in_channels = s.in_channels * s.depth;
  const memory::desc x({1, in_channels, h, w}, type, any ? Tag::any : Tag::nhwc), y({1, s.out_channels, oh, ow}, type, any ? Tag::any : Tag::nhwc);
  const memory::desc weight({s.out_channels, in_channels, k, k}, type, Tag::any), bias({s.out_channels}, memory::data_type::f32, Tag::x);
  const convolution_forward::desc desc(prop_kind::forward_inference, algorithm::convolution_direct, x, weight, bias, y, {s.stride, s.stride},
                                       {pad, pad}, {(oh - 1) * s.stride + k - h - pad, (ow - 1) * s.stride + k - w - pad});
  primitive_attr attr;
  post_ops post;
  if (s.post) post.append_sum();
  attr.set_post_ops(post);
  const convolution_forward::primitive_desc primitive(desc, attr, cpu);
  // Values do not change its speed, but denormals and NaNs would.
  memory mx(primitive.src_desc(), cpu), mw(primitive.weights_desc(), cpu), my(primitive.dst_desc(), cpu);
  memory mb(primitive.bias_desc(), cpu, const_cast<float*>(o.bias.data()));
  const int64_t size = static_cast<int64_t>(dtype_size(dtype));
  fill(mx.get_data_handle(), dtype, static_cast<int64_t>(primitive.src_desc().get_size()) / size, 1);
  fill(mw.get_data_handle(), dtype, static_cast<int64_t>(primitive.weights_desc().get_size()) / size, 0.02f);
  fill(my.get_data_handle(), dtype, static_cast<int64_t>(primitive.dst_desc().get_size()) / size, 1);
  const convolution_forward convolution(primitive);
  const std::string name = std::string("oneDNN ") + (any ? "any " : "nhwc ") + primitive.impl_info_str();
  return {name, true, [=] {
            convolution.execute(queue, {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, mw}, {DNNL_ARG_BIAS, mb}, {DNNL_ARG_DST, my}});
            queue.wait();
          }};
}

// Nothing where the kernel refuses. `summed`: of a video, a run a frame.
void add_own(const ConvKernel& kernel, const Shape& s, DType dtype, bool summed, const Operands& o, std::vector<Contestant>& contestants) {
  const int pad = s.kernel / 2;
  // As the engine asks for them (backends/cpu/conv.cc).
  const bool bf16_products = multiplies_bf16(dtype) && !kernel.int16;
  const ConvSpec spec{.in_channels = s.in_channels,
                      .out_channels = s.out_channels,
                      .kernel = s.kernel,
                      .depth = summed ? 1 : s.depth,
                      .stride = s.stride,
                      .pad = {pad, pad, pad, pad},
                      .act = dtype,
                      .compute = bf16_products ? DType::bfloat16 : DType::float32,
                      .w = bf16_products ? DType::float32 : dtype,
                      .upsample2x = s.upsample};
  if (kernel.refuse(spec, isa())) return;
  const int runs = summed ? s.depth : 1;
  std::vector<std::shared_ptr<void>> packed;
  for (int i = 0; i < runs; ++i) {
    packed.emplace_back(allocate(kernel.packed_bytes(spec, isa())));
    kernel.pack(spec, isa(), o.weight.get(), DType::float32, packed.back().get(), nullptr);
  }
  const ConvPlan plan = kernel.plan(spec, isa(), 1, s.h, s.w, num_threads());
  const std::shared_ptr<void> workspace(allocate(plan.workspace_bytes()));
  ConvArgs args{.x = o.x.get(), .h = s.h, .w = s.w, .ldx = s.in_channels, .y = o.y.get(), .ldy = s.out_channels, .bias = o.bias.data()};
  if (s.post) args.residual = o.residual.get(), args.ld_residual = s.out_channels;
  const std::string name = std::string(kernel.name) + (summed ? " a frame, summed" : "");
  const size_t frame = static_cast<size_t>(s.h * s.w * s.in_channels) * dtype_size(dtype);
  contestants.push_back({name, false, [=] {
                           ConvArgs part = args;
                           for (int i = 0; i < runs; ++i) {
                             kernel.run(spec, isa(), plan, packed[static_cast<size_t>(i)].get(), part, workspace.get());
                             part.x = static_cast<const char*>(part.x) + frame;
                             part.bias = nullptr, part.residual = part.y, part.ld_residual = s.out_channels;
                           }
                         }});
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

void compare(const Shape& s, DType dtype, int rounds, const std::vector<std::string>& words) {
  const int64_t up = s.upsample ? 2 : 1, oh = s.h * up / s.stride, ow = s.w * up / s.stride;
  char title[128];
  std::snprintf(title, sizeof title, "%s %s%dx%d %ldx%ld %ld->%ld %s", s.name, s.depth == 1 ? "" : (std::to_string(s.depth) + "x").c_str(), s.kernel,
                s.kernel, s.h, s.w, s.in_channels, s.out_channels, dtype_name(dtype).data());
  for (const std::string& word : words)
    if ((" " + std::string(title) + " ").find(" " + word + " ") == std::string::npos) return;

  const int64_t in_values = s.h * s.w * s.in_channels * s.depth, out_values = oh * ow * s.out_channels;
  const int64_t weights = s.out_channels * s.in_channels * s.depth * 9, size = static_cast<int64_t>(dtype_size(dtype));
  Operands o{allocate(in_values * size),
             allocate(out_values * size),
             allocate(out_values * size),
             allocate(weights * 4),
             std::vector<float>(s.out_channels, 0.1f),
             std::vector<float>(s.in_channels, 0.9f),
             std::vector<float>(s.in_channels, 0.1f)};
  fill(o.x.get(), dtype, in_values, 1);
  fill(o.residual.get(), dtype, out_values, 1);
  fill(o.weight.get(), DType::float32, weights / 9 * s.kernel * s.kernel, 0.02f);
  std::vector<Contestant> contestants{onednn(s, dtype, o, false), onednn(s, dtype, o, true)};
  for (const ConvKernel& kernel : conv_kernels()) {
    add_own(kernel, s, dtype, false, o, contestants);
    if (s.depth > 1) add_own(kernel, s, dtype, true, o, contestants);
  }

  double peak = 0;
  for (Contestant& c : contestants) c.run();
  for (int r = 0; r < rounds; ++r) {
    peak = std::max(peak, ceiling(multiplies_bf16(dtype)));
    for (size_t i = 0; i < contestants.size(); ++i) {
      Contestant& c = contestants[(i + r) % contestants.size()];
      c.times.push_back(seconds(c.run));
    }
  }
  const double flop = 2. * static_cast<double>(out_values * s.in_channels * s.depth) * s.kernel * s.kernel;
  std::printf("%s, ceiling %.0f GFLOP/s\n", title, peak / 1e9);
  const auto least = [](const Contestant& c) { return *std::min_element(c.times.begin(), c.times.end()); };
  const double reference = std::min(least(contestants[0]), least(contestants[1]));
  for (const Contestant& c : contestants) {
    std::vector<double> ratios;
    for (int r = 0; r < rounds; ++r) ratios.push_back(std::min(contestants[0].times[r], contestants[1].times[r]) / c.times[r]);
    std::printf("  %-34s %9.3f ms %5.0f %% of ceiling   %.2fx, median %.2fx\n", c.name.c_str(), least(c) * 1e3, 100 * flop / least(c) / peak,
                reference / least(c), median(ratios));
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--rounds=", 9) == 0)
      rounds = std::max(1, std::atoi(argv[i] + 9));
    else if (std::strcmp(argv[i], "--cpu-time") == 0)
      g_cpu_time = true;
    else
      words.emplace_back(argv[i]);
  }
  std::printf("%d threads, %s\n", num_threads(), isa_name(isa()).data());
  for (const Shape& shape : kShapes)
    for (DType dtype : {DType::bfloat16, DType::float32}) compare(shape, dtype, rounds, words);
}
