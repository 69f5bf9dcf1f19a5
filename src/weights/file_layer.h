// The layer right above files that are spelled or stored in another way than Diffusers' own: under the model's names lie parts of the files' tensors,
// widened where they are stored in blocks or in 8 bits.
#pragma once

#include "weights/spellings.h"
#include "weights/weight_stack.h"

namespace vivace {

// Of files that are spelled so, named without the prefix. Of a file's scaled 8 bits the scale is the tensor beside it that is called scale_weight or
// weight_scale.
std::shared_ptr<const WeightLayer> file_layer(const Spelling& spelling, const WeightMap& files);

// Of a component's own files, where some of their tensors are stored in blocks.
WeightLayers storage_layers(const WeightMap& files);

}  // namespace vivace
