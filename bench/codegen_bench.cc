// Fused elementwise chains three ways: the tile VM, the same chain generated as C++ (g++), and through LLVM (clang -O3 as a stand-in for ORC: the
// same optimiser and code generator, without the start of a process). One thread, processor time, so that a busy machine disturbs little; the
// contestants take turns, the least time counts. Compiling: the processor time of the compiler's process. codegen_bench [--rounds=N]; needs g++ and
// clang++ to be installed.
#include <dlfcn.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "backends/cpu/device.h"
#include "base/log.h"
#include "base/parallel.h"
#include "ops/tile_program.h"
#include "vivace/generator.h"

namespace {

using namespace vivace;

// Input 0 is [rows, channels]; the others are that too, or [channels].
struct Chain {
  const char* name;
  const char* program;
  DType dtype;
  int64_t rows, channels;
  std::vector<bool> per_channel;
};

const Chain kChains[] = {
    {"mul + add + silu", "t0=mul i0 i1;t1=add t0 i2;t2=silu t1", float32, 4096, 640, {false, true, true}},
    {"mul + add + silu", "t0=mul i0 i1;t1=add t0 i2;t2=silu t1", bfloat16, 4096, 640, {false, true, true}},
    {"affine + add + gelu", "t0=affine i0 scale=0.5 shift=0.1;t1=add t0 i1;t2=gelu t1", float32, 1024, 1280, {false, false}},
    {"affine + add + gelu", "t0=affine i0 scale=0.5 shift=0.1;t1=add t0 i1;t2=gelu t1", bfloat16, 1024, 1280, {false, false}},
    {"add + affine", "t0=add i0 i1;t1=affine t0 scale=0.7 shift=0", float32, 4096, 640, {false, false}},
    {"add + affine", "t0=add i0 i1;t1=affine t0 scale=0.7 shift=0", bfloat16, 4096, 640, {false, false}},
};

double cpu_seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double children_seconds() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

std::string expression(const TileInstruction& t) {
  const auto name = [](int arg) { return arg < 0 ? cat("x", ~arg) : cat("t", arg); };
  const std::string a = name(t.args[0]), b = t.args.size() > 1 ? name(t.args[1]) : "";
  switch (t.op) {
    case Op::add:
      return cat(a, " + ", b);
    case Op::mul:
      return cat(a, " * ", b);
    case Op::affine:
      return cat(a, " * (float)", t.attrs.real("scale", 1), " + (float)", t.attrs.real("shift"));
    case Op::silu:
      return cat(a, " / (1 + __builtin_expf(-", a, "))");
    case Op::gelu:
      return cat(a, " * 0.5f * (1 + __builtin_erff(", a, " * 0.70710678f))");
    default:
      return "";
  }
}

// The loop that a C++ backend would print.
std::string source(const Chain& chain) {
  const char* type = chain.dtype == bfloat16 ? "unsigned short" : "float";
  std::string text =
      "static inline float load(float x) { return x; }\nstatic inline void store(float x, float* p) { *p = x; }\n"
      "static inline float load(unsigned short x) { unsigned u = (unsigned)x << 16; float f; __builtin_memcpy(&f, &u, 4); return f; }\n"
      "static inline void store(float x, unsigned short* p) { unsigned u; __builtin_memcpy(&u, &x, 4); *p = (unsigned short)((u + 0x7fff + ((u >> "
      "16) & 1)) >> 16); }\n"
      "extern \"C\" void chain(const void* const* in, void* out, long rows, long channels) {\n";
  const size_t inputs = chain.per_channel.size();
  for (size_t i = 0; i < inputs; ++i) text += cat("  const ", type, "* __restrict i", i, " = (const ", type, "*)in[", i, "];\n");
  text += cat("  ", type, "* __restrict y = (", type, "*)out;\n  for (long r = 0; r < rows; ++r)\n    for (long c = 0; c < channels; ++c) {\n");
  for (size_t i = 0; i < inputs; ++i)
    text += cat("      const float x", i, " = load(i", i, chain.per_channel[i] ? "[c]" : "[r * channels + c]", ");\n");
  const TileText program{std::string_view(chain.program)};
  size_t k = 0;
  for (const TileInstruction& t : program.instructions()) text += cat("      const float t", k++, " = ", expression(t), ";\n");
  return text + cat("      store(t", k - 1, ", y + r * channels + c);\n    }\n}\n");
}

using Function = void (*)(const void* const*, void*, long, long);
struct Compiled {
  Function run = nullptr;
  double seconds = 0;
};

Compiled compile(const std::string& compiler, const std::string& text, int number) {
  const auto stem = std::filesystem::temp_directory_path() / cat("vivace_codegen_bench_", getpid(), '_', number);
  std::ofstream(stem.string() + ".cc") << text;
  const double before = children_seconds();
  const int status = std::system(cat(compiler, " -shared -fPIC -fno-math-errno ", stem.string(), ".cc -o ", stem.string(), ".so -lm").c_str());
  Compiled result{nullptr, children_seconds() - before};
  if (status == 0)
    if (void* library = dlopen((stem.string() + ".so").c_str(), RTLD_NOW)) result.run = reinterpret_cast<Function>(dlsym(library, "chain"));
  std::filesystem::remove(stem.string() + ".cc");
  std::filesystem::remove(stem.string() + ".so");
  return result;
}

double time_of(const std::function<void()>& fn) {
  const double before = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
  fn();
  return cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - before;
}

void bench(const Chain& chain, int rounds) {
  KernelCall call{.op = Op::tile, .attrs = nullptr, .in = {}, .out = {chain.dtype, {chain.rows, chain.channels}}};
  const Attrs attrs{{"program", std::string(chain.program)}, {"to", std::string(dtype_name(chain.dtype))}};
  call.attrs = &attrs;
  std::vector<Tensor> inputs;
  Buffers buffers;
  for (size_t i = 0; i < chain.per_channel.size(); ++i) {
    const Shape shape = chain.per_channel[i] ? Shape{chain.channels} : Shape{chain.rows, chain.channels};
    inputs.push_back(Generator(i).randn(shape).to(chain.dtype));
    call.in.push_back(Operand{chain.dtype, shape});
    buffers.in.push_back(inputs.back().data());
  }
  Tensor out({chain.rows, chain.channels}, chain.dtype);
  buffers.out = out.data();
  const double bind_begin = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
  const auto vm = cpu::device()->find("tile")->ask(call, cpu::device()->target()).offer->bind(buffers);
  const std::unique_ptr<Stream> stream = cpu::device()->stream();
  const double bind = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - bind_begin;

  struct Contestant {
    const char* name;
    double compiling;
    std::function<void()> run;
    double best = 1e9;
  };
  std::vector<Contestant> contestants{{"VM", bind, [&] { stream->launch(*vm); }}};
  static int number = 0;  // a library that is loaded is found again by its name
  for (const auto& [name, command] : {std::pair{"g++", "g++ -O3 -march=native"},
                                      {"g++ fast-math", "g++ -O3 -march=native -ffast-math"},
                                      {"LLVM", "clang++ -O3 -march=native"},
                                      {"LLVM fast-math", "clang++ -O3 -march=native -ffast-math -fveclib=libmvec"}}) {
    const Compiled compiled = compile(command, source(chain), number++);
    if (compiled.run)
      contestants.push_back({name, compiled.seconds, [&, run = compiled.run] { run(buffers.in.data(), buffers.out, chain.rows, chain.channels); }});
    else
      std::printf("(%s could not compile it)\n", name);
  }
  for (int round = 0; round < rounds; ++round)
    for (Contestant& c : contestants) c.best = std::min(c.best, time_of(c.run));
  for (const Contestant& c : contestants)
    std::printf("| %s, %s [%ld, %ld] | %s | %.0f | %.2f | %.3g |\n", chain.name, std::string(dtype_name(chain.dtype)).c_str(),
                static_cast<long>(chain.rows), static_cast<long>(chain.channels), c.name, 1e6 * c.best, c.best / contestants[0].best,
                1e3 * c.compiling);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 20;
  for (int i = 1; i < argc; ++i)
    if (const std::string_view arg = argv[i]; arg.starts_with("--rounds=")) rounds = std::max(1, std::atoi(arg.data() + 9));
  set_num_threads(1);
  std::printf("| chain | how | us | of the VM's | compiling, ms |\n|---|---|---|---|---|\n");
  for (const Chain& chain : kChains) bench(chain, rounds);
  return 0;
}
