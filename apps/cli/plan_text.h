// What a plan's steps are, in words and in arithmetic.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/plan.h"

namespace vivace::cli {

// Floating-point operations (2 a multiply-add) of matrix products, convolutions and attention, by the shapes; 0 for other ops
// and for packing.
double flops(const Plan& plan, const PlanStep& step);
// "float32[2, 16, 16, 64]".
std::string type_text(const Plan& plan, int32_t value);
// "float32[2, 16, 16, 64], float32[64, 64, 3, 3], _ -> float32[2, 16, 16, 64]".
std::string signature(const Plan& plan, const PlanStep& step);
// The kernels that run below the compiled ones (those of the oracle): a graph break, as torch.compile calls it.
bool is_graph_break(const PlanStep& step);
// The sizes a call may choose, "height = width": the plan was made for 16; and what a call's sizes must satisfy, "height % 4 == 0".
std::vector<std::pair<std::string, int64_t>> symbols(const Plan& plan);
std::vector<std::string> guards(const Plan& plan);
// The first parts of a scope, down to an entry of a list: "down_blocks.1", "mid_block", "conv_in"; "(outside)" for none.
std::string block_of(const std::string& scope);

}  // namespace vivace::cli
