// Strassen's algorithm (Numerische Mathematik 13, 1969) inside the GEMM: the product of two matrices cut into 2 x 2 blocks from 7 products of sums of
// blocks instead of 8. With integers the result is the same; with float32 the error grows (gemm_strassen_error).
//
// The blocks are small: two neighbouring register tiles of C, two neighbouring panels of W, and the halves of K. So the sums of A are made while A is
// packed, once for all panels; the sums of W while a panel is decoded, once for all tiles of a task; and the products are added up in the second
// cache.
#pragma once

#include "backends/cpu/kernels/gemm/plan.h"

namespace vivace::cpu::gemm_detail {

inline constexpr int kStrassenProducts = 7;

void strassen_gemm(const Problem& problem, const PlannedGemm& planned, char* workspace, Stop stop);

}  // namespace vivace::cpu::gemm_detail
