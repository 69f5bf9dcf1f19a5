#include "models/common/adaptive_norm.h"

namespace vivace {

Value embedding_mlp(Builder& b, std::string_view name, Value x, int64_t out) {
  const auto scope = b.scope(name);
  return linear(b, "linear_2", b.activation(linear(b, "linear_1", x, out), "silu"), out);
}

std::vector<Value> modulation(Builder& b, std::string_view name, Value temb, int64_t parts, int64_t channels, bool bias) {
  const auto scope = b.scope(name);
  const Value all = b.reshape(linear(b, "linear", b.activation(temb, "silu"), parts * channels, bias), {0, 1, parts * channels});
  std::vector<Value> values;
  for (int64_t i = 0; i < parts; ++i) values.push_back(b.slice(all, -1, i * channels, (i + 1) * channels));
  return values;
}

}  // namespace vivace
