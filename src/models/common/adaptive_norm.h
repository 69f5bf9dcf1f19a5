// What transformer denoisers share: the embedding of the timestep and the modulation of norms by it (diffusers models/embeddings.py,
// normalization.py).
#pragma once

#include "models/common/layers.h"

namespace vivace {

// name.linear_1, silu, name.linear_2: TimestepEmbedding, PixArtAlphaTextProjection.
Value embedding_mlp(Builder& b, std::string_view name, Value x, int64_t out);

// name.linear of silu(temb [N, D]) in `parts` equal parts, each [N, 1, C].
std::vector<Value> modulation(Builder& b, std::string_view name, Value temb, int64_t parts, int64_t channels, bool bias);

// LayerNorm without weights, of each of the row's heads.
inline Value plain_layer_norm(Builder& b, Value x, double eps, int64_t heads = 1) {
  return b.emit(Op::layer_norm, {x}, {{"eps", eps}, {"heads", heads}});
}

// Of what has a row an image that of image `i`; what has one row is the same for all of them.
inline Value row_of_image(Builder& b, Value x, int64_t i) { return b.shape(x)[0] == 1 ? x : b.slice(x, 0, i, i + 1); }
inline std::vector<Value> row_of_image(Builder& b, std::vector<Value> all, int64_t i) {
  for (Value& x : all) x = row_of_image(b, x, i);
  return all;
}

// x (1 + scale) + shift.
inline Value modulate(Builder& b, Value x, Value scale, Value shift) { return b.add(b.mul(x, b.affine(scale, 1, 1)), shift); }

}  // namespace vivace
