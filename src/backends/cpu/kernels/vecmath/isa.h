// Choosing among the copies that vivace_levels() of levels.cmake compiled.
#pragma once

#include "backends/cpu/isa.h"

namespace vivace::cpu {

// The table of the level that isa() allows, of those given from the lowest to the highest.
template <class Table>
const Table& of_isa(const Table& baseline, const Table& avx2, const Table& avx512, const Table& avx512_bf16) {
  // VNNI and AMX have nothing for single vectors of numbers.
  const Table* const tables[] = {&baseline, &avx2, &avx2, &avx512, &avx512, &avx512_bf16, &avx512_bf16};
  return *tables[static_cast<int>(isa())];
}

}  // namespace vivace::cpu
