// The contestants of `vivace bench`: what each is called, and what makes it one, as options of `vivace generate`.
#pragma once

#include <string>
#include <vector>

#include "ir/target.h"

namespace vivace::cli {

struct Contestant {
  std::string name;
  std::vector<std::string> arguments;  // "--dtype=bf16"
};

// The ladder of Diffusers' guide "Accelerate inference", each rung with all of those before it, and what Vivace has beyond the guide.
// The first is the reference of speed and of quality. `dtype` is what comes after float32: bf16 or fp16. Only where a device multiplies float8 that
// has a rung.
std::vector<Contestant> ladder(const std::string& dtype, const Target& target);
// Plain float32, for a setting that is measured alone.
Contestant plain_float32();
// Long names of the options that change speed and rounding but not what is asked for: a contestant's own business.
std::vector<std::string> acceleration_options();

}  // namespace vivace::cli
