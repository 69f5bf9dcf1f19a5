#include "models/t5_encoder/model.h"

#include "models/common/layers.h"

namespace vivace {
namespace {

// Far below any score; what a key that is not to be seen gets on top of its bias.
constexpr double kHidden = -1e30;

// float32 [1 or N, heads, tokens, tokens]; `hidden`: float32 [N, 1, 1, tokens] or absent.
Value position_bias(Builder& b, Value like, Value hidden, const T5EncoderConfig& config) {
  const Value table = b.weight("SelfAttention.relative_attention_bias.weight", {config.relative_attention_num_buckets, config.num_heads});
  const Value bias =
      b.emit(Op::relative_position_bias, {b.cast(table, DType::float32), like}, {{"max_distance", config.relative_attention_max_distance}});
  return hidden ? b.add(bias, hidden) : bias;
}

// Not scaled by the size of a head.
Value self_attention(Builder& b, Value x, Value bias, const T5EncoderConfig& config) {
  const auto scope = b.scope("SelfAttention");
  const int64_t width = config.num_heads * config.d_kv;
  const Value q = linear(b, "q", x, width, false), k = linear(b, "k", x, width, false), v = linear(b, "v", x, width, false);
  return linear(b, "o", b.attention(q, k, v, bias, config.num_heads, 1, false), config.d_model, false);
}

Value gated_feed_forward(Builder& b, Value x, DType residual, const T5EncoderConfig& config) {
  const auto scope = b.scope("DenseReluDense");
  Value h = b.activation(linear(b, config.is_gated_act ? "wi_0" : "wi", x, config.d_ff, false), config.act);
  if (config.is_gated_act) h = b.mul(h, linear(b, "wi_1", x, config.d_ff, false));
  return linear(b, "wo", b.cast(h, residual), config.d_model, false);
}

}  // namespace

Graph build_t5_encoder(const T5EncoderConfig& config, int64_t batch, int64_t tokens, bool mask, Builder b) {
  const Value ids = b.input("input_ids", DType::int32, {batch, tokens}, Phase::step, "batch,tokens");
  Value hidden;
  if (mask) {
    const Value seen = b.input("attention_mask", DType::float32, {batch, tokens}, Phase::step, "batch,tokens");
    hidden = b.reshape(b.affine(seen, -kHidden, kHidden), {0, 1, 1, -1});
  }
  // The sums along the residual leave float16's range in the larger models: transformers clamps them and keeps `wo` in float32; here they are
  // float32.
  const DType residual = b.dtype() == DType::float16 ? DType::float32 : b.dtype();
  Value x = b.cast(b.emit(Op::embedding, {ids, b.weight("shared.weight", {config.vocab_size, config.d_model})}), residual);
  const auto scope = b.scope("encoder");
  const auto norm = [&](std::string_view name) { return b.cast(rms_norm(b, name, x, config.layer_norm_epsilon), b.dtype()); };
  Value bias;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const auto block = b.scope("block." + std::to_string(i), "T5Block");
    {
      const auto layer = b.scope("layer.0");
      if (!bias || config.bias_in_every_block) bias = position_bias(b, ids, hidden, config);
      x = b.add(b.cast(self_attention(b, norm("layer_norm"), bias, config), residual), x);
    }
    const auto layer = b.scope("layer.1");
    x = b.add(gated_feed_forward(b, norm("layer_norm"), residual, config), x);
  }
  b.output("last_hidden_state", norm("final_layer_norm"));
  return b.take();
}

}  // namespace vivace
