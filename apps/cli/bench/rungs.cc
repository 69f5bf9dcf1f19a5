#include "bench/rungs.h"

#include "options.h"

namespace vivace::cli {

std::vector<Contestant> ladder(const std::string& dtype, const Target& target) {
  const std::string half = "--dtype=" + dtype;
  std::vector<Contestant> rungs{
      {"fp32, math attention", {"--dtype=fp32", "--sdpa=math"}},
      {"fp32", {"--dtype=fp32"}},
      {dtype + ", math attention", {half, "--sdpa=math"}},
      {dtype + ", SDPA", {half}},
      // Compiling fuses projections by itself; without that pass the next rung shows what it gives.
      {"+ compile", {half, "--compile=default", "--disable-pass=fuse_projections"}},
      {"+ fused QKV", {half, "--compile=default", "--fuse-qkv"}},
      {"+ int8 dynamic", {half, "--compile=default", "--fuse-qkv", "--quantize=int8-dynamic"}},
      {"+ max-autotune, Winograd", {half, "--compile=max-autotune", "--fuse-qkv", "--quantize=int8-dynamic"}},
  };
  if (target.float8_products)
    rungs.push_back({"+ float8 dynamic for int8", {half, "--compile=max-autotune", "--fuse-qkv", "--quantize=float8-dynamic"}});
  return rungs;
}

Contestant plain_float32() { return {"fp32", {"--dtype=fp32"}}; }

std::vector<std::string> acceleration_options() {
  Arguments arguments("");
  CompileFlags flags;
  flags.add(arguments);
  std::vector<std::string> names{"--dtype", "--profile", "--recipe"};
  for (const Option* option : arguments.options())
    if (option->name() != "--help") names.push_back(option->name());
  return names;
}

}  // namespace vivace::cli
