#include "models/clip_text/config.h"

#include <utility>

#include "base/json.h"
#include "models/common/config_fields.h"

namespace vivace {

CLIPTextConfig read_clip_text_config(const Config& whole) {
  // A CLIPModel's config keeps the text half one level down.
  const Config c = whole.has("text_config") ? whole.object("text_config") : whole;
  CLIPTextConfig t;
  t.vocab_size = c.get_or<int64_t>("vocab_size", 49408);
  t.hidden_size = c.get_or<int64_t>("hidden_size", 512);
  t.intermediate_size = c.get_or<int64_t>("intermediate_size", 2048);
  t.num_hidden_layers = c.get_or<int64_t>("num_hidden_layers", 12);
  t.num_attention_heads = c.get_or<int64_t>("num_attention_heads", 8);
  t.max_position_embeddings = c.get_or<int64_t>("max_position_embeddings", 77);
  t.projection_dim = c.get_or<int64_t>("projection_dim", 512);
  t.hidden_act = activation_field(c, "hidden_act", "quick_gelu");
  t.layer_norm_eps = c.get_or<double>("layer_norm_eps", 1e-5);
  t.eos_token_id = c.get_or<int64_t>("eos_token_id", 49407);
  c.require<bool>("use_attention_mask", false);
  for (const std::string& name : whole.get_or<std::vector<std::string>>("architectures", {})) {
    t.with_projection |= name == "CLIPTextModelWithProjection";
    t.without_projection |= name == "CLIPTextModel";
  }
  for (const auto& [key, size] : {std::pair{"vocab_size", t.vocab_size},
                                  {"hidden_size", t.hidden_size},
                                  {"intermediate_size", t.intermediate_size},
                                  {"max_position_embeddings", t.max_position_embeddings}})
    if (size < 1) c.unsupported(key, "at least 1");
  if (t.num_attention_heads <= 0 || t.hidden_size % t.num_attention_heads) c.unsupported("num_attention_heads", "a divisor of hidden_size");
  if (t.num_hidden_layers < 1 || t.num_hidden_layers > 1024) c.unsupported("num_hidden_layers", "1 to 1024");
  return t;
}

}  // namespace vivace
