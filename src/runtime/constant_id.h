// What a prepared weight is, by what it was made of: the origins of the checkpoint's tensors and the calls that were made of them. Their names, which
// two fine-tunes share, are no part of it.
#pragma once

#include <vector>

#include "base/hash.h"
#include "runtime/program.h"
#include "weights/weight_source.h"

namespace vivace {

using ConstantId = Hash128;

// By value of the plan: of the weights and of what `prepare` makes; nothing of the others.
std::vector<ConstantId> constant_ids(const Program& program, const WeightSource& weights);

}  // namespace vivace
