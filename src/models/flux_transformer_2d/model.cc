#include "models/flux_transformer_2d/model.h"

#include <cmath>

#include "models/common/adaptive_norm.h"

namespace vivace {
namespace {

constexpr double kFluxEps = 1e-6;

class FluxTransformer {
 public:
  FluxTransformer(const FluxTransformer2DConfig& config, const FluxTransformer2DShape& shape, Builder& b)
      : config_(config), shape_(shape), b_(b), dim_(config.inner_dim()), heads_(config.num_attention_heads) {}

  // Text and image are one sequence for attention. Those of several images would not follow one another in memory, so a block takes one image after
  // the other.
  void build() {
    const Value latents =
        b_.input("hidden_states", b_.dtype(), {shape_.batch, shape_.image_tokens, config_.in_channels}, Phase::step, "=batch,image_tokens,_");
    const Value encoder =
        b_.input("encoder_hidden_states", b_.dtype(), {shape_.batch, shape_.tokens, config_.joint_attention_dim}, Phase::setup, "=batch,tokens,_");
    embed_time();
    rotary_tables();
    Value condition;
    if (shape_.condition_tokens)
      condition = b_.input("image_latents", b_.dtype(), {shape_.batch, shape_.condition_tokens, config_.in_channels}, Phase::setup,
                           "=batch,condition_tokens,_");
    const Value texts = linear(b_, "context_embedder", encoder, dim_);
    std::vector<Value> image, text, all;
    for (int64_t i = 0; i < shape_.batch; ++i) {
      const Value x = linear(b_, "x_embedder", row_of_image(b_, latents, i), dim_);
      // In front, so that what is predicted is the sequence's end.
      image.push_back(condition ? b_.concat({linear(b_, "x_embedder", row_of_image(b_, condition, i), dim_), x}, 1) : x);
      text.push_back(row_of_image(b_, texts, i));
    }
    for (int64_t i = 0; i < config_.num_layers; ++i) double_block("transformer_blocks." + std::to_string(i), image, text);
    for (int64_t i = 0; i < shape_.batch; ++i) all.push_back(b_.concat({text[static_cast<size_t>(i)], image[static_cast<size_t>(i)]}, 1));
    for (int64_t i = 0; i < config_.num_single_layers; ++i) single_block("single_transformer_blocks." + std::to_string(i), all);
    // Scale before shift, unlike in the blocks.
    const auto modulations = modulation(b_, "norm_out", temb_, 2, dim_, true);
    std::vector<Value> samples;
    for (int64_t i = 0; i < shape_.batch; ++i) {
      const Value x =
          b_.emit(Op::slice, {all[static_cast<size_t>(i)], latents}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}, {"back", int64_t{1}}});
      const auto m = row_of_image(b_, modulations, i);
      samples.push_back(linear(b_, "proj_out", modulate(b_, plain_layer_norm(b_, x, kFluxEps), m[0], m[1]),
                               config_.patch_size * config_.patch_size * config_.out_channels));
    }
    b_.output("sample", samples.size() == 1 ? samples[0] : b_.concat(samples, 0));
  }

 private:
  // Times 1000 in the model's dtype, as Diffusers rounds it: in bfloat16 a guidance of 3.5 counts as 3504.
  Value time_projection(Value t) {
    const Value thousand = b_.cast(b_.affine(b_.cast(t, b_.dtype()), 1000, 0), DType::float32);
    return b_.cast(b_.emit(Op::sinusoid, {thousand}, {{"dim", int64_t{256}}, {"flip_sin_to_cos", int64_t{1}}, {"downscale_freq_shift", 0.}}),
                   b_.dtype());
  }

  void embed_time() {
    const auto scope = b_.scope("time_text_embed");
    const Value timestep = b_.input("timestep", DType::float32, {1});
    const Value pooled = b_.input("pooled_projections", b_.dtype(), {shape_.batch, config_.pooled_projection_dim}, Phase::setup, "=batch,_");
    temb_ = embedding_mlp(b_, "timestep_embedder", time_projection(timestep), dim_);
    if (config_.guidance_embeds) {
      const Value guidance = b_.input("guidance", DType::float32, {shape_.batch}, Phase::setup, "=batch");
      temb_ = b_.add(temb_, embedding_mlp(b_, "guidance_embedder", time_projection(guidance), dim_));
    }
    temb_ = b_.add(temb_, embedding_mlp(b_, "text_embedder", pooled, dim_));
  }

  void rotary_tables() {
    const auto table = [&](Value ids) { return b_.emit(Op::rotary_table, {ids}, {{"dims", config_.axes_dims_rope}, {"theta", 10000.}}); };
    text_table_ = table(b_.input("txt_ids", DType::float32, {shape_.tokens, 3}, Phase::setup, "tokens,_"));
    image_table_ = table(b_.input("img_ids", DType::float32, {shape_.image_tokens, 3}, Phase::setup, "image_tokens,_"));
    if (shape_.condition_tokens)
      image_table_ = b_.concat(
          {table(b_.input("image_latents_ids", DType::float32, {shape_.condition_tokens, 3}, Phase::setup, "condition_tokens,_")), image_table_}, 0);
    table_ = b_.concat({text_table_, image_table_}, 0);
  }

  // Normed a head and turned to its place.
  Value project(std::string_view name, std::string_view norm, Value x, Value table) {
    return b_.emit(Op::rotary, {rms_norm(b_, norm, linear(b_, name, x, dim_), kFluxEps, heads_), table}, {{"heads", heads_}});
  }

  Value attend(Value q, Value k, Value v) {
    return b_.attention(q, k, v, {}, heads_, 1 / std::sqrt(static_cast<double>(config_.attention_head_dim)), false);
  }

  // Nothing but float16 leaves its range here.
  Value clamp_float16(Value x) { return b_.dtype() == DType::float16 ? b_.emit(Op::clamp, {x}, {{"min", -65504.}, {"max", 65504.}}) : x; }

  Value feed_forward(std::string_view name, Value x) {
    const auto scope = b_.scope(name);
    return linear(b_, "net.2", b_.activation(linear(b_, "net.0.proj", x, 4 * dim_), "gelu_tanh"), dim_);
  }

  // m: shift, scale, gate of the attention, then of the feed-forward.
  Value add_feed_forward(std::string_view name, Value x, const std::vector<Value>& m) {
    return b_.add(x, b_.mul(m[5], feed_forward(name, modulate(b_, plain_layer_norm(b_, x, kFluxEps), m[4], m[3]))));
  }

  void double_block(const std::string& name, std::vector<Value>& image, std::vector<Value>& text) {
    const auto scope = b_.scope(name, "FluxTransformerBlock");
    const auto of_image = modulation(b_, "norm1", temb_, 6, dim_, true), of_text = modulation(b_, "norm1_context", temb_, 6, dim_, true);
    for (size_t i = 0; i < image.size(); ++i)
      double_block(image[i], text[i], row_of_image(b_, of_image, static_cast<int64_t>(i)), row_of_image(b_, of_text, static_cast<int64_t>(i)));
  }

  void double_block(Value& x, Value& text, const std::vector<Value>& m, const std::vector<Value>& c) {
    const Value h = modulate(b_, plain_layer_norm(b_, x, kFluxEps), m[1], m[0]), ht = modulate(b_, plain_layer_norm(b_, text, kFluxEps), c[1], c[0]);
    Value image_out, text_out;
    {
      const auto attention = b_.scope("attn");
      const Value q = b_.concat({project("add_q_proj", "norm_added_q", ht, text_table_), project("to_q", "norm_q", h, image_table_)}, 1);
      const Value k = b_.concat({project("add_k_proj", "norm_added_k", ht, text_table_), project("to_k", "norm_k", h, image_table_)}, 1);
      const Value v = b_.concat({linear(b_, "add_v_proj", ht, dim_), linear(b_, "to_v", h, dim_)}, 1);
      const Value y = attend(q, k, v);
      const Value text_part = b_.emit(Op::slice, {y, text}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}});
      const Value image_part = b_.emit(Op::slice, {y, x}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}, {"back", int64_t{1}}});
      image_out = linear(b_, "to_out.0", image_part, dim_);
      text_out = linear(b_, "to_add_out", text_part, dim_);
    }
    x = add_feed_forward("ff", b_.add(x, b_.mul(m[2], image_out)), m);
    text = clamp_float16(add_feed_forward("ff_context", b_.add(text, b_.mul(c[2], text_out)), c));
  }

  // Of each image text, then image.
  void single_block(const std::string& name, std::vector<Value>& all) {
    const auto scope = b_.scope(name, "FluxSingleTransformerBlock");
    const auto modulations = modulation(b_, "norm", temb_, 3, dim_, true);
    for (size_t i = 0; i < all.size(); ++i) all[i] = single_block(all[i], row_of_image(b_, modulations, static_cast<int64_t>(i)));
  }

  Value single_block(Value x, const std::vector<Value>& m) {
    const Value h = modulate(b_, plain_layer_norm(b_, x, kFluxEps), m[1], m[0]);
    Value attended;
    {
      const auto attention = b_.scope("attn");
      attended = attend(project("to_q", "norm_q", h, table_), project("to_k", "norm_k", h, table_), linear(b_, "to_v", h, dim_));
    }
    const Value mlp = b_.activation(linear(b_, "proj_mlp", h, 4 * dim_), "gelu_tanh");
    return clamp_float16(b_.add(x, b_.mul(m[2], linear(b_, "proj_out", b_.concat({attended, mlp}, -1), dim_))));
  }

  const FluxTransformer2DConfig& config_;
  const FluxTransformer2DShape& shape_;
  Builder& b_;
  const int64_t dim_, heads_;
  Value temb_, text_table_, image_table_, table_;
};

}  // namespace

Graph build_flux_transformer_2d(const FluxTransformer2DConfig& config, const FluxTransformer2DShape& shape, Builder b) {
  FluxTransformer(config, shape, b).build();
  return b.take();
}

}  // namespace vivace
