// The oracle's kernels; each reads its call and fills the output.
#pragma once

#include "backends/ref/element.h"
#include "runtime/step_loop.h"

namespace vivace::ref {

void elementwise(const Bound& k);
void reduce(const Bound& k);
void matmul(const Bound& k);
void conv2d(const Bound& k);
void sinusoid(const Bound& k);
void transpose(const Bound& k);
void copy(const Bound& k);  // reshape and the views
void slice(const Bound& k);
void concat(const Bound& k);
void interleave(const Bound& k);
void causal_mask(const Bound& k);
void upsample_nearest(const Bound& k);
void widen(const Bound& k);
void embedding(const Bound& k);
void gather_rows(const Bound& k);
void argmax(const Bound& k);
void first_equal(const Bound& k);
void select_row(const Bound& k);
void expand_rows(const Bound& k);
void fill(const Bound& k);
void center_crop(const Bound& k);
void rotary_table(const Bound& k);
void relative_position_bias(const Bound& k);

LoopKernels loop_kernels(const LoopCall& call);

}  // namespace vivace::ref
