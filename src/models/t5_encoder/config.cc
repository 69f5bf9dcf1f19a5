#include "models/t5_encoder/config.h"

namespace vivace {

T5EncoderConfig read_t5_encoder_config(const Config& c) {
  T5EncoderConfig t;
  t.bias_in_every_block = c.one_of("model_type", {"t5", "umt5"}, "t5") == "umt5";
  const bool umt5 = t.bias_in_every_block;
  t.vocab_size = c.get_or<int64_t>("vocab_size", umt5 ? 250112 : 32128);
  t.d_model = c.get_or<int64_t>("d_model", 512);
  t.d_kv = c.get_or<int64_t>("d_kv", 64);
  t.d_ff = c.get_or<int64_t>("d_ff", umt5 ? 1024 : 2048);
  t.num_layers = c.get_or<int64_t>("num_layers", umt5 ? 8 : 6);
  t.num_heads = c.get_or<int64_t>("num_heads", umt5 ? 6 : 8);
  t.relative_attention_num_buckets = c.get_or<int64_t>("relative_attention_num_buckets", 32);
  t.relative_attention_max_distance = c.get_or<int64_t>("relative_attention_max_distance", 128);
  t.layer_norm_epsilon = c.get_or<double>("layer_norm_epsilon", 1e-6);
  t.eos_token_id = c.get_optional<int64_t>("eos_token_id");
  t.pad_token_id = c.get_optional<int64_t>("pad_token_id");
  const std::string proj =
      c.one_of("feed_forward_proj", {"relu", "gelu", "gelu_new", "silu", "gated-gelu", "gated-silu", "gated-relu"}, umt5 ? "gated-gelu" : "relu");
  t.is_gated_act = proj.starts_with("gated-");
  t.act = t.is_gated_act ? proj.substr(6) : proj;
  // transformers takes the tanh form for "gated-gelu", for the sake of the first checkpoints of T5 v1.1.
  if (t.act == "gelu_new" || proj == "gated-gelu") t.act = "gelu_tanh";
  for (const auto& [key, size] :
       {std::pair{"vocab_size", t.vocab_size}, {"d_model", t.d_model}, {"d_kv", t.d_kv}, {"d_ff", t.d_ff}, {"num_heads", t.num_heads}})
    if (size < 1) c.unsupported(key, "at least 1");
  if (t.num_layers < 1 || t.num_layers > 1024) c.unsupported("num_layers", "1 to 1024");
  if (t.relative_attention_num_buckets < 4 || t.relative_attention_num_buckets % 4)
    c.unsupported("relative_attention_num_buckets", "a positive multiple of 4");
  if (t.relative_attention_max_distance <= t.relative_attention_num_buckets / 4)
    c.unsupported("relative_attention_max_distance", "more than a quarter of relative_attention_num_buckets");
  return t;
}

}  // namespace vivace
