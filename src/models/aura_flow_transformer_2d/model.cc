#include "models/aura_flow_transformer_2d/model.h"

#include <cmath>

#include "models/common/adaptive_norm.h"

namespace vivace {
namespace {

constexpr double kEps = 1e-5;
constexpr int64_t kRegisters = 8;

class AuraFlowTransformer {
 public:
  AuraFlowTransformer(const AuraFlowTransformer2DConfig& config, const AuraFlowTransformer2DShape& shape, Builder& b)
      : config_(config), shape_(shape), b_(b), dim_(config.inner_dim()), heads_(config.num_attention_heads) {}

  void build() {
    const std::string multiple = config_.patch_size == 1 ? "" : std::to_string(config_.patch_size) + "*";
    const Value latents = b_.input("hidden_states", b_.dtype(), {shape_.batch, shape_.height, shape_.width, config_.in_channels}, Phase::step,
                                   "=batch," + multiple + "height," + multiple + "width,_");
    const Value encoder =
        b_.input("encoder_hidden_states", b_.dtype(), {shape_.batch, shape_.tokens, config_.joint_attention_dim}, Phase::setup, "=batch,tokens,_");
    // The angles are scaled after their frequency, which in float32 is not the same as scaling the timestep.
    const Value time = b_.emit(Op::sinusoid, {b_.input("timestep", DType::float32, {1})},
                               {{"dim", int64_t{256}}, {"flip_sin_to_cos", int64_t{1}}, {"downscale_freq_shift", 0.}, {"scale", 1000.}});
    temb_ = embedding_mlp(b_, "time_step_proj", b_.cast(time, b_.dtype()), dim_);
    const Value patches = patch(latents);
    const Value embedded = b_.add(b_.flatten_hw(patches), positions(patches));
    const Value texts = with_registers(linear(b_, "context_embedder", encoder, dim_, false));
    // One image after the other in each block, as in FLUX.
    std::vector<Value> image, text;
    for (int64_t i = 0; i < shape_.batch; ++i) {
      image.push_back(row_of_image(b_, embedded, i));
      text.push_back(row_of_image(b_, texts, i));
    }
    for (int64_t i = 0; i < config_.num_mmdit_layers; ++i) joint_block("joint_transformer_blocks." + std::to_string(i), image, text);
    if (config_.num_single_dit_layers) {
      std::vector<Value> all;
      for (size_t i = 0; i < image.size(); ++i) all.push_back(b_.concat({text[i], image[i]}, 1));
      for (int64_t i = 0; i < config_.num_single_dit_layers; ++i) single_block("single_transformer_blocks." + std::to_string(i), all);
      for (size_t i = 0; i < image.size(); ++i) image[i] = image_of(all[i], image[i]);
    }
    // No norm here, and scale before shift.
    const auto m = modulation(b_, "norm_out", temb_, 2, dim_, false);
    for (Value& x : image)
      x = linear(b_, "proj_out", modulate(b_, x, m[0], m[1]), config_.patch_size * config_.patch_size * config_.out_channels, false);
    const Value x = image.size() == 1 ? image[0] : b_.concat(image, 0);
    b_.output("sample", b_.emit(Op::depth_to_space, {b_.unflatten_hw(x, patches)}, {{"block", config_.patch_size}}));
  }

 private:
  // A linear over patches with features (channel, row, column) is a convolution of its kernel's size.
  Value patch(Value x) {
    const auto scope = b_.scope("pos_embed.proj");
    const int64_t p = config_.patch_size, c = config_.in_channels;
    const Value w = b_.reshape(b_.weight("weight", {dim_, c * p * p}), {dim_, c, p, p});
    return b_.conv2d(x, w, b_.weight("bias", {dim_}), p, {0, 0, 0, 0});
  }

  Value positions(Value patches) {
    const Value table = b_.reshape(b_.weight("pos_embed.pos_embed", {1, config_.pos_embed_max_size, dim_}), {-1, dim_});
    return b_.emit(Op::center_crop, {b_.cast(table, b_.dtype()), patches});
  }

  Value with_registers(Value text) {
    const Value registers = b_.reshape(b_.cast(b_.weight("register_tokens", {1, kRegisters, dim_}), b_.dtype()), {1, kRegisters * dim_});
    return b_.concat({b_.reshape(b_.emit(Op::expand_rows, {registers, text}), {0, kRegisters, dim_}), text}, 1);
  }

  Value image_of(Value all, Value image) {
    return b_.emit(Op::slice, {all, image}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}, {"back", int64_t{1}}});
  }

  Value project(std::string_view name, Value x) { return linear(b_, name, x, dim_, false); }
  Value normed(std::string_view name, Value x) { return plain_layer_norm(b_, project(name, x), kEps, heads_); }
  Value attend(Value q, Value k, Value v) {
    return b_.attention(q, k, v, {}, heads_, 1 / std::sqrt(static_cast<double>(config_.attention_head_dim)), false);
  }

  Value feed_forward(std::string_view name, Value x) {
    const auto scope = b_.scope(name);
    const int64_t hidden = (8 * dim_ / 3 + 255) / 256 * 256;
    return project("out_projection",
                   b_.mul(b_.activation(linear(b_, "linear_1", x, hidden, false), "silu"), linear(b_, "linear_2", x, hidden, false)));
  }

  // The norm's result, the attention in it, feeds the feed-forward alone: the residual stream gets nothing else.
  Value add_feed_forward(std::string_view name, Value x, Value attended, const std::vector<Value>& m) {
    const Value y = plain_layer_norm(b_, b_.add(x, b_.mul(m[2], attended)), kEps);
    return b_.add(x, b_.mul(m[5], feed_forward(name, modulate(b_, y, m[4], m[3]))));
  }

  void joint_block(const std::string& name, std::vector<Value>& image, std::vector<Value>& text) {
    const auto scope = b_.scope(name, "AuraFlowJointTransformerBlock");
    const auto m = modulation(b_, "norm1", temb_, 6, dim_, false), c = modulation(b_, "norm1_context", temb_, 6, dim_, false);
    for (size_t i = 0; i < image.size(); ++i) joint_block(image[i], text[i], m, c);
  }

  void joint_block(Value& x, Value& text, const std::vector<Value>& m, const std::vector<Value>& c) {
    const Value h = modulate(b_, plain_layer_norm(b_, x, kEps), m[1], m[0]), ht = modulate(b_, plain_layer_norm(b_, text, kEps), c[1], c[0]);
    Value image_out, text_out;
    {
      const auto attention = b_.scope("attn");
      const Value q = b_.concat({normed("add_q_proj", ht), normed("to_q", h)}, 1), k = b_.concat({normed("add_k_proj", ht), normed("to_k", h)}, 1);
      const Value y = attend(q, k, b_.concat({project("add_v_proj", ht), project("to_v", h)}, 1));
      image_out = project("to_out.0", image_of(y, x));
      text_out = project("to_add_out", b_.emit(Op::slice, {y, text}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}}));
    }
    x = add_feed_forward("ff", x, image_out, m);
    text = add_feed_forward("ff_context", text, text_out, c);
  }

  void single_block(const std::string& name, std::vector<Value>& all) {
    const auto scope = b_.scope(name, "AuraFlowSingleTransformerBlock");
    const auto m = modulation(b_, "norm1", temb_, 6, dim_, false);
    for (Value& x : all) x = single_block(x, m);
  }

  Value single_block(Value x, const std::vector<Value>& m) {
    const Value h = modulate(b_, plain_layer_norm(b_, x, kEps), m[1], m[0]);
    Value out;
    {
      const auto attention = b_.scope("attn");
      out = project("to_out.0", attend(normed("to_q", h), normed("to_k", h), project("to_v", h)));
    }
    return add_feed_forward("ff", x, out, m);
  }

  const AuraFlowTransformer2DConfig& config_;
  const AuraFlowTransformer2DShape& shape_;
  Builder& b_;
  const int64_t dim_, heads_;
  Value temb_;
};

}  // namespace

Graph build_aura_flow_transformer_2d(const AuraFlowTransformer2DConfig& config, const AuraFlowTransformer2DShape& shape, Builder b) {
  AuraFlowTransformer(config, shape, b).build();
  return b.take();
}

}  // namespace vivace
