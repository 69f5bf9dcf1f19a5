#include "models/clip_text/model.h"

#include <cmath>
#include <vector>

#include "models/common/layers.h"

namespace vivace {
namespace {

Value encoder_layer(Builder& b, int64_t i, Value x, const CLIPTextConfig& config) {
  const auto scope = b.scope("encoder.layers." + std::to_string(i), "CLIPEncoderLayer");
  const int64_t c = config.hidden_size, heads = config.num_attention_heads;
  const Value n1 = layer_norm(b, "layer_norm1", x, config.layer_norm_eps);
  {
    const auto attention = b.scope("self_attn");
    const Value q = linear(b, "q_proj", n1, c), k = linear(b, "k_proj", n1, c), v = linear(b, "v_proj", n1, c);
    const Value y = b.attention(q, k, v, {}, heads, 1.0 / std::sqrt(static_cast<double>(c / heads)), true);
    x = b.add(linear(b, "out_proj", y, c), x);
  }
  const Value n2 = layer_norm(b, "layer_norm2", x, config.layer_norm_eps);
  const auto mlp = b.scope("mlp");
  return b.add(linear(b, "fc2", b.activation(linear(b, "fc1", n2, config.intermediate_size), config.hidden_act), c), x);
}

}  // namespace

Graph build_clip_text(const CLIPTextConfig& config, int64_t batch, int64_t tokens, int64_t skip, Builder b) {
  const Value ids = b.input("input_ids", DType::int32, {batch, tokens}, Phase::step, "batch,tokens");
  Value last, pooled, chosen;
  {
    const auto scope = b.scope("text_model");
    const int64_t c = config.hidden_size;
    const Value table = b.weight("embeddings.token_embedding.weight", {config.vocab_size, c});
    const Value positions = b.weight("embeddings.position_embedding.weight", {config.max_position_embeddings, c});
    Value x = b.cast(b.emit(Op::embedding, {ids, table}), b.dtype());
    x = b.add(x, b.emit(Op::slice, {b.cast(positions, b.dtype()), ids}, {{"axis", int64_t{0}}, {"like_axis", int64_t{1}}}));
    std::vector<Value> hidden{x};
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) hidden.push_back(x = encoder_layer(b, i, x, config));
    chosen = hidden[hidden.size() - 1 - static_cast<size_t>(skip)];
    last = layer_norm(b, "final_layer_norm", x, config.layer_norm_eps);
    b.output("last_hidden_state", last);
    b.output("hidden_state", chosen);
    b.output("hidden_state_normed", skip == 0 ? last : layer_norm(b, "final_layer_norm", chosen, config.layer_norm_eps));
    const Value end = config.eos_token_id == 2 ? b.emit(Op::argmax, {ids}) : b.emit(Op::first_equal, {ids}, {{"value", config.eos_token_id}});
    pooled = b.emit(Op::gather_rows, {last, end});
    b.output("pooler_output", pooled);
  }
  if (config.with_projection) b.output("text_embeds", linear(b, "text_projection", pooled, config.projection_dim, false));
  return b.take();
}

}  // namespace vivace
