// The memory-bound kernels against memcpy of as many bytes on all threads, and against oneDNN where it has the operation, or what came before. All
// contestants of a case take turns in every round of one run. norm_bench [words of a case's name...] [--rounds=N] [--cpu-time]
// --cpu-time: one thread, its processor time instead of the clock on the wall: for machines that are busy with something else.
// GB/s counts the bytes that must move (group norm reads its input twice); "of memcpy" compares least times, and the median over the rounds.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "backends/cpu/kernels/norm/norm.h"
#include "backends/cpu/kernels/norm/softmax.h"
#include "base/parallel.h"
#include "tensor/half.h"

namespace {

using namespace vivace;
using namespace vivace::cpu;

struct Case {
  std::string name;
  double bytes;
  std::function<void()> ours;
  std::function<void()> other;  // may be empty
  const char* others_name = "oneDNN";
};

// 64-byte aligned, filled with numbers between -1 and 1.
std::shared_ptr<char> make(DType dtype, int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * dtype_size(dtype) + 63) / 64 * 64;
  std::shared_ptr<char> p(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);
  parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = static_cast<float>(i * 2654435761 % 2001) / 1000.f - 1.f;
      if (dtype == DType::float32) reinterpret_cast<float*>(p.get())[i] = v;
      if (dtype == DType::bfloat16) reinterpret_cast<bf16*>(p.get())[i] = bf16(v);
      if (dtype == DType::float16) reinterpret_cast<f16*>(p.get())[i] = f16(v);
    }
  });
  return p;
}

struct Buffer {
  DType dtype;
  int64_t rows, channels;
  std::shared_ptr<char> p;
  Buffer(DType d, int64_t r, int64_t c) : dtype(d), rows(r), channels(c), p(make(d, r * c)) {}
  double bytes() const { return static_cast<double>(rows * channels) * static_cast<double>(dtype_size(dtype)); }
  RowInput in() const { return {p.get(), dtype, channels}; }
  RowOutput out() const { return {p.get(), dtype, channels}; }
  float* floats() const { return reinterpret_cast<float*>(p.get()); }
  dnnl::memory memory(const dnnl::engine& engine) const {
    const auto type = dtype == DType::float32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
    return {{{rows, channels}, type, dnnl::memory::format_tag::ab}, engine, p.get()};
  }
};

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

void run(const dnnl::primitive& primitive, const std::unordered_map<int, dnnl::memory>& arguments) {
  static dnnl::stream stream(engine());
  primitive.execute(stream, arguments);
  stream.wait();
}

std::string title(const char* what, const Buffer& x, const Buffer& y) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %s->%s %lldx%lld", what, dtype_name(x.dtype).data(), dtype_name(y.dtype).data(),
                static_cast<long long>(x.rows), static_cast<long long>(x.channels));
  return text;
}

Case group_norm_case(DType in, DType out, int64_t pixels, int64_t channels, Act act) {
  const Buffer x(in, pixels, channels), y(out, pixels, channels), gamma(float32, 1, channels), beta(float32, 1, channels);
  return {title(act == Act::silu ? "group_norm+silu" : "group_norm", x, y),
          2 * x.bytes() + y.bytes(),
          [=] {
            group_norm({x.in(), 1, pixels, channels, 32, gamma.floats(), beta.floats(), 1e-5f}, act, y.out());
          },
          {}};
}

Case layer_norm_case(DType dtype, int64_t rows, int64_t channels) {
  const Buffer x(dtype, rows, channels), y(dtype, rows, channels), gamma(float32, 1, channels), beta(float32, 1, channels);
  const dnnl::memory mx = x.memory(engine()), my = y.memory(engine());
  const dnnl::layer_normalization_forward::desc desc(dnnl::prop_kind::forward_inference, mx.get_desc(), 1e-5f,
                                                     dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift);
  const dnnl::layer_normalization_forward norm({desc, engine()});
  const dnnl::memory::desc affine({channels}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
  const dnnl::memory mg(affine, engine(), gamma.p.get()), mb(affine, engine(), beta.p.get());
  return {title("layer_norm", x, y), x.bytes() + y.bytes(),
          [=] {
            layer_norm({x.in(), rows, channels, gamma.floats(), beta.floats(), 1e-5f}, y.out());
          },
          [=, keep = std::vector<Buffer>{x, y, gamma, beta}] {
            run(norm, {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DST, my}, {DNNL_ARG_SCALE, mg}, {DNNL_ARG_SHIFT, mb}});
          }};
}

Case layer_norm_int8_case(int64_t rows, int64_t channels) {
  const Buffer x(bfloat16, rows, channels), q(bfloat16, rows, channels / 2), gamma(float32, 1, channels), scales(float32, 2, rows);
  return {title("layer_norm to int8,", x, q),
          x.bytes() + q.bytes(),
          [=] {
            layer_norm({x.in(), rows, channels, gamma.floats(), nullptr, 1e-5f},
                       {q.p.get(), DType::uint8, channels, reinterpret_cast<RowScale*>(scales.p.get())});
          },
          {}};
}

// Q or K of a transformer on its way into attention, beside the two steps that it is without fuse_rotary.
Case rotary_case(DType dtype, int64_t tokens, int64_t heads, int64_t channels) {
  const Buffer x(dtype, tokens, heads * channels), y(dtype, tokens, heads * channels), gamma(float32, 1, channels), table(float32, tokens, channels);
  const RowNorm norm{.x = x.in(), .rows = tokens, .channels = channels, .gamma = gamma.floats(), .eps = 1e-6f, .heads = heads};
  const Rotation rotation{table.floats(), tokens};
  RowNorm turned = norm;
  turned.rotation = rotation;
  const std::vector<Buffer> keep{x, y, gamma, table};
  return {title("rms_norm+rotary", x, y), x.bytes() + y.bytes() + table.bytes(), [=] { (void)keep, rms_norm(turned, y.out()); },
          [=] {
            (void)keep, rms_norm(norm, y.out());
            rotate({y.p.get(), dtype, y.channels}, tokens, heads, channels, rotation, y.out());
          },
          "in two steps"};
}

Case softmax_case(DType dtype, int64_t rows, int64_t channels) {
  const Buffer x(dtype, rows, channels), y(dtype, rows, channels);
  const dnnl::memory mx = x.memory(engine()), my = y.memory(engine());
  const dnnl::softmax_v2_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::softmax_accurate, mx.get_desc(), my.get_desc(), 1);
  const dnnl::softmax_v2_forward softmax({desc, engine()});
  return {title("softmax", x, y), x.bytes() + y.bytes(), [=] { softmax_rows(x.in(), rows, channels, 1.f, y.out()); },
          [=, keep = std::vector<Buffer>{x, y}] {
            run(softmax, {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DST, my}});
          }};
}

Case cast_case(DType in, DType out, int64_t count) {
  const Buffer x(in, 1, count), y(out, 1, count);
  TileProgram p;
  p.input_count = p.output_count = 1;
  p.inputs[0].dtype = in;
  p.outputs[0] = {out, 0};
  TileArguments a{1, count};
  a.inputs[0] = x.p.get();
  a.outputs[0] = y.p.get();
  a.input_strides[0] = a.output_strides[0] = count;
  std::function<void()> theirs;
  if (in != DType::float16 && out != DType::float16) {
    const dnnl::memory mx = x.memory(engine()), my = y.memory(engine());
    const dnnl::reorder reorder(mx, my);
    theirs = [=, keep = std::vector<Buffer>{x, y}] { run(reorder, {{DNNL_ARG_FROM, mx}, {DNNL_ARG_TO, my}}); };
  }
  return {title("cast", x, y), x.bytes() + y.bytes(), [=, keep = std::vector<Buffer>{x, y}] { tile_run(p, a); }, theirs};
}

// One operation on all elements; oneDNN's eltwise when it has it.
Case unary_case(const char* name, TileOp op, dnnl::algorithm algorithm, float alpha, DType dtype, int64_t rows, int64_t channels) {
  const Buffer x(dtype, rows, channels), y(dtype, rows, channels);
  TileProgram p;
  p.input_count = p.output_count = p.instruction_count = 1;
  p.inputs[0].dtype = dtype;
  p.instructions[0] = {op, 1, 0};
  p.outputs[0] = {dtype, 1};
  TileArguments a{rows, channels};
  a.inputs[0] = x.p.get();
  a.outputs[0] = y.p.get();
  a.input_strides[0] = a.output_strides[0] = channels;
  const dnnl::memory mx = x.memory(engine()), my = y.memory(engine());
  const dnnl::eltwise_forward eltwise({{dnnl::prop_kind::forward_inference, algorithm, mx.get_desc(), alpha}, engine()});
  const std::vector<Buffer> keep = {x, y};
  return {title(name, x, y), x.bytes() + y.bytes(), [=] { (void)keep, tile_run(p, a); },
          [=] {
            (void)keep, run(eltwise, {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DST, my}});
          }};
}

// (x + residual) * gate[channel], rounded.
Case chain_case(DType dtype, int64_t rows, int64_t channels) {
  const Buffer x(dtype, rows, channels), residual(dtype, rows, channels), gate(float32, 1, channels), y(dtype, rows, channels);
  TileProgram p;
  p.input_count = 3;
  p.instruction_count = 2;
  p.output_count = 1;
  p.inputs[0].dtype = p.inputs[1].dtype = dtype;
  p.inputs[2].broadcast = TileBroadcast::channel;
  p.instructions[0] = {TileOp::add, 3, 0, 1};
  p.instructions[1] = {TileOp::mul, 3, 3, 2};
  p.outputs[0] = {dtype, 3};
  TileArguments a{rows, channels};
  const Buffer* inputs[] = {&x, &residual, &gate};
  for (int i = 0; i < 3; ++i) {
    a.inputs[i] = inputs[i]->p.get();
    a.input_strides[i] = channels;
  }
  a.outputs[0] = y.p.get();
  a.output_strides[0] = channels;
  const std::vector<Buffer> keep = {x, residual, gate, y};
  return {title("(x+r)*gate", x, y), 3 * x.bytes(), [=] { (void)keep, tile_run(p, a); }, {}};
}

Case geglu_case(DType dtype, int64_t rows, int64_t channels) {
  const Buffer x(dtype, rows, 2 * channels), y(dtype, rows, channels);
  const RowInput gate{x.p.get() + channels * static_cast<int64_t>(dtype_size(dtype)), dtype, 2 * channels};
  return {title("geglu", x, y), x.bytes() + y.bytes(), [=] { gated_rows({x.in(), gate, rows, channels, Act::gelu}, y.out()); }, {}};
}

Case transpose_case(DType dtype, int64_t rows, int64_t columns) {
  const Buffer x(dtype, rows, columns), y(dtype, columns, rows);
  const dnnl::memory mx = x.memory(engine());
  const dnnl::memory my({{rows, columns}, mx.get_desc().data_type(), dnnl::memory::format_tag::ba}, engine(), y.p.get());
  const dnnl::reorder reorder(mx, my);
  return {title("transpose", x, y), x.bytes() + y.bytes(), [=] { transpose(x.in(), 1, rows, columns, y.out()); },
          [=, keep = std::vector<Buffer>{x, y}] {
            run(reorder, {{DNNL_ARG_FROM, mx}, {DNNL_ARG_TO, my}});
          }};
}

Case upsample_case(DType dtype, int64_t side, int64_t channels) {
  const Buffer x(dtype, side * side, channels), y(dtype, 4 * side * side, channels);
  return {title("upsample 2x", x, y),
          x.bytes() + y.bytes(),
          [=] {
            upsample_nearest({x.in(), 1, side, side, channels, 2 * side, 2 * side}, y.out());
          },
          {}};
}

bool g_cpu_time = false;

double now() {
  timespec t;
  clock_gettime(g_cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double seconds(const std::function<void()>& work, int repeat) {
  const double start = now();
  for (int i = 0; i < repeat; ++i) work();
  return (now() - start) / repeat;
}

void measure(const Case& k, int rounds) {
  const auto half = static_cast<int64_t>(k.bytes / 2);
  const Buffer source(float32, 1, half / 4 + 1), target(float32, 1, half / 4 + 1);
  const auto copy = [&] {
    parallel_for(half, 65536,
                 [&](int64_t begin, int64_t end) { std::memcpy(target.p.get() + begin, source.p.get() + begin, static_cast<size_t>(end - begin)); });
  };
  std::vector<std::function<void()>> contestants = {copy, k.ours};
  if (k.other) contestants.push_back(k.other);
  const size_t n = contestants.size();
  const int repeat = static_cast<int>(std::clamp(2e-3 / seconds(k.ours, 2), 1.0, 1000.0));
  std::vector<double> least(n, 1e9);
  std::vector<std::vector<double>> ratios(n);
  for (int round = 0; round < rounds; ++round) {
    double first = 0;
    for (size_t i = 0; i < n; ++i) {
      contestants[i]();
      const double t = seconds(contestants[i], repeat);
      if (i == 0) first = t;
      least[i] = std::min(least[i], t);
      ratios[i].push_back(first / t);
    }
  }
  const auto median = [](std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  std::printf("%-52s memcpy %6.1f GB/s | ours %8.1f us %6.1f GB/s %5.2f (%.2f) of memcpy", k.name.c_str(), k.bytes / least[0] * 1e-9, least[1] * 1e6,
              k.bytes / least[1] * 1e-9, least[0] / least[1], median(ratios[1]));
  if (n > 2) std::printf(" | %s %6.1f GB/s, ours %.2fx", k.others_name, k.bytes / least[2] * 1e-9, least[2] / least[1]);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--rounds=", 9) == 0) {
      rounds = std::max(1, std::atoi(argv[i] + 9));
    } else if (std::strcmp(argv[i], "--cpu-time") == 0) {
      g_cpu_time = true;
      set_num_threads(1);
    } else {
      words.emplace_back(argv[i]);
    }
  }
  using Make = std::function<Case()>;
  const std::pair<const char*, Make> cases[] = {
      {"group_norm", [] { return group_norm_case(bfloat16, bfloat16, 1024 * 1024, 128, Act::silu); }},
      {"group_norm", [] { return group_norm_case(float32, float32, 512 * 512, 128, Act::silu); }},
      {"group_norm", [] { return group_norm_case(bfloat16, bfloat16, 128 * 128, 320, Act::silu); }},
      {"group_norm", [] { return group_norm_case(bfloat16, bfloat16, 64 * 64, 640, Act::none); }},
      {"group_norm", [] { return group_norm_case(bfloat16, bfloat16, 32 * 32, 2560, Act::silu); }},
      {"group_norm small", [] { return group_norm_case(float32, float32, 16 * 16, 64, Act::silu); }},
      {"layer_norm", [] { return layer_norm_case(bfloat16, 16384, 640); }},
      {"layer_norm", [] { return layer_norm_case(bfloat16, 1024, 1280); }},
      {"layer_norm", [] { return layer_norm_case(float32, 16384, 1280); }},
      {"layer_norm small", [] { return layer_norm_case(float32, 77, 64); }},
      {"layer_norm int8", [] { return layer_norm_int8_case(16384, 640); }},
      {"rotary", [] { return rotary_case(bfloat16, 4608, 24, 128); }},
      {"softmax", [] { return softmax_case(float32, 4096, 4096); }},
      {"softmax", [] { return softmax_case(bfloat16, 4096, 77); }},
      {"cast", [] { return cast_case(float32, bfloat16, 1 << 25); }},
      {"cast", [] { return cast_case(bfloat16, float32, 1 << 25); }},
      {"cast", [] { return cast_case(float16, bfloat16, 1 << 25); }},
      {"cast small", [] { return cast_case(float32, bfloat16, 1 << 16); }},
      {"silu", [] { return unary_case("silu", TileOp::silu, dnnl::algorithm::eltwise_swish, 1.f, bfloat16, 16384, 1280); }},
      {"silu", [] { return unary_case("silu", TileOp::silu, dnnl::algorithm::eltwise_swish, 1.f, float32, 16384, 1280); }},
      {"silu small", [] { return unary_case("silu", TileOp::silu, dnnl::algorithm::eltwise_swish, 1.f, float32, 1, 4096); }},
      {"gelu", [] { return unary_case("gelu", TileOp::gelu, dnnl::algorithm::eltwise_gelu_erf, 0.f, bfloat16, 16384, 1280); }},
      {"chain", [] { return chain_case(bfloat16, 16384, 640); }},
      {"chain", [] { return chain_case(float32, 16384, 640); }},
      {"geglu", [] { return geglu_case(bfloat16, 4096, 2560); }},
      {"transpose", [] { return transpose_case(float32, 512, 16384); }},
      {"transpose", [] { return transpose_case(bfloat16, 16384, 640); }},
      {"transpose", [] { return transpose_case(float32, 1024 * 1024, 3); }},
      {"upsample", [] { return upsample_case(bfloat16, 64, 640); }},
  };
  for (const auto& [name, make_case] : cases) {
    const bool wanted =
        words.empty() || std::any_of(words.begin(), words.end(), [&](const std::string& w) { return std::strstr(name, w.c_str()) != nullptr; });
    if (wanted) measure(make_case(), rounds);
  }
}
