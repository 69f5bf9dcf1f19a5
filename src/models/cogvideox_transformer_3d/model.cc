#include "models/cogvideox_transformer_3d/model.h"

#include <cmath>

#include "models/common/adaptive_norm.h"

namespace vivace {
namespace {

constexpr double kHeadEps = 1e-6;  // of the norms of queries and keys

class CogVideoXTransformer {
 public:
  CogVideoXTransformer(const CogVideoXTransformer3DConfig& config, const CogVideoXTransformer3DShape& shape, Builder& b)
      : config_(config), shape_(shape), b_(b), dim_(config.inner_dim()), heads_(config.num_attention_heads) {}

  void build() {
    const int64_t values = config_.patch_values();
    // Learned positions are of one size.
    const Value latents = b_.input("hidden_states", b_.dtype(), {shape_.batch, shape_.video_tokens, values * config_.in_channels}, Phase::step,
                                   shape_.learned ? "batch,_,_" : "batch,video_tokens,_");
    const Value encoder = b_.input("encoder_hidden_states", b_.dtype(), {shape_.batch, shape_.tokens, config_.text_embed_dim}, Phase::setup,
                                   shape_.learned ? "batch,_,_" : "batch,tokens,_");
    embed_time();
    if (config_.use_rotary_positional_embeddings) rotary_table();
    Value text, video;
    {
      const auto scope = b_.scope("patch_embed");
      text = linear(b_, "text_proj", encoder, dim_);
      video = patches(latents);
    }
    if (shape_.learned)
      add_learned(text, video);
    else if (!config_.use_rotary_positional_embeddings || config_.use_learned_positional_embeddings)
      video = b_.add(video, sines());
    for (int64_t i = 0; i < config_.num_layers; ++i) block("transformer_blocks." + std::to_string(i), text, video);
    video = norm("norm_final", video);
    const auto m = modulation(b_, "norm_out", temb_, 2, dim_, true);
    video = modulated_norm("norm_out.norm", video, m[1], m[0]);
    b_.output("sample", linear(b_, "proj_out", video, values * config_.out_channels));
  }

 private:
  // A position's features: a quarter of them for the frame, three eighths each for row and column.
  static std::vector<int64_t> features(int64_t all) { return {all / 4, all / 8 * 3, all / 8 * 3}; }

  Value sinusoid(Value t, int64_t dim) {
    return b_.cast(
        b_.emit(Op::sinusoid, {t},
                {{"dim", dim}, {"flip_sin_to_cos", static_cast<int64_t>(config_.flip_sin_to_cos)}, {"downscale_freq_shift", config_.freq_shift}}),
        b_.dtype());
  }

  void embed_time() {
    temb_ = embedding_mlp(b_, "time_embedding", sinusoid(b_.input("timestep", DType::float32, {1}), dim_), config_.time_embed_dim);
    if (config_.ofs_embed_dim) {
      const Value ofs = b_.input("ofs", DType::float32, {1}, Phase::setup, "_");
      temb_ = b_.add(temb_, embedding_mlp(b_, "ofs_embedding", sinusoid(ofs, config_.ofs_embed_dim), config_.ofs_embed_dim));
    }
  }

  // The text is turned by the angle 0: not at all.
  void rotary_table() {
    const auto table = [&](Value ids) {
      return b_.emit(Op::rotary_table, {ids}, {{"dims", features(config_.attention_head_dim)}, {"theta", 10000.}});
    };
    const Value text = b_.input("txt_ids", DType::float32, {shape_.tokens, 3}, Phase::setup, shape_.learned ? "_,_" : "tokens,_");
    const Value video = b_.input("video_ids", DType::float32, {shape_.video_tokens, 3}, Phase::setup, shape_.learned ? "_,_" : "video_tokens,_");
    table_ = b_.concat({table(text), table(video)}, 0);
  }

  // A convolution of 1.0, whose strides are its kernel's sizes, is a linear over patches; its weight has their features in the same order.
  Value patches(Value latents) {
    if (config_.patch_size_t) return linear(b_, "proj", latents, dim_);
    const auto scope = b_.scope("proj");
    const int64_t p = config_.patch_size;
    const Value w = b_.reshape(b_.weight("weight", {dim_, config_.in_channels, p, p}), {dim_, config_.in_channels * p * p});
    return b_.emit(Op::linear, {latents, w, config_.patch_bias ? b_.weight("bias", {dim_}) : Value{}});
  }

  void add_learned(Value& text, Value& video) {
    const int64_t tokens = shape_.tokens, all = tokens + shape_.video_tokens;
    const Value table = b_.cast(b_.weight("patch_embed.pos_embedding", {1, all, dim_}), b_.dtype());
    text = b_.add(text, b_.slice(table, 1, 0, tokens));
    video = b_.add(video, b_.slice(table, 1, tokens, all));
  }

  // [1, video_tokens, D]: sines and cosines of frame, column and row, in this order.
  Value sines() {
    const Value grid = b_.input("grid", DType::float32, {shape_.video_tokens, 3}, Phase::setup, "video_tokens,_");
    const auto dims = features(dim_);
    std::vector<Value> parts;
    for (int64_t axis : {0, 2, 1})
      parts.push_back(b_.emit(Op::sinusoid, {b_.slice(grid, 1, axis, axis + 1)},
                              {{"dim", dims[static_cast<size_t>(axis)]}, {"flip_sin_to_cos", int64_t{0}}, {"downscale_freq_shift", 0.}}));
    return b_.reshape(b_.cast(b_.concat(parts, 1), b_.dtype()), {1, -1, dim_});
  }

  Value norm(std::string_view name, Value x) {
    return config_.norm_elementwise_affine ? layer_norm(b_, name, x, config_.norm_eps) : plain_layer_norm(b_, x, config_.norm_eps);
  }

  // norm(x) (1 + scale) + shift. The norm's own weight and bias are multiplied into them, so that it is a norm with one scale and one shift an image.
  Value modulated_norm(std::string_view name, Value x, Value scale, Value shift) {
    Value factor = b_.affine(scale, 1, 1);
    if (config_.norm_elementwise_affine) {
      const auto scope = b_.scope(name);
      shift = b_.add(b_.mul(factor, b_.cast(b_.weight("bias", {dim_}), b_.dtype())), shift);
      factor = b_.mul(factor, b_.cast(b_.weight("weight", {dim_}), b_.dtype()));
    }
    return b_.add(b_.mul(plain_layer_norm(b_, x, config_.norm_eps), factor), shift);
  }

  // CogVideoXLayerNormZero: one norm for both, and scale and shift for each; text first. m: shift, scale and gate of the video, then of the text.
  Value norm_zero(const std::string& name, Value text, Value video, const std::vector<Value>& m) {
    return b_.concat({modulated_norm(name + ".norm", text, m[4], m[3]), modulated_norm(name + ".norm", video, m[1], m[0])}, 1);
  }

  Value part(Value all, Value like, bool back) {
    return b_.emit(Op::slice, {all, like}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}, {"back", static_cast<int64_t>(back)}});
  }

  // x += gate * name(the part of `all` that is x's): a linear of its own for each part, which so ends in the gate and the sum.
  void add_gated(std::string_view name, Value all, Value& text, Value& video, const std::vector<Value>& m) {
    video = b_.add(video, b_.mul(m[2], linear(b_, name, part(all, video, true), dim_)));
    text = b_.add(text, b_.mul(m[5], linear(b_, name, part(all, text, false), dim_)));
  }

  Value project(std::string_view name, Value x) { return linear(b_, name, x, dim_, config_.attention_bias); }
  // Normed a head and turned to its place.
  Value turned(std::string_view name, std::string_view norm, Value x) {
    const Value y = project(name, x);
    const auto scope = b_.scope(norm);
    const int64_t d = config_.attention_head_dim;
    const Value normed = b_.emit(Op::layer_norm, {y, b_.weight("weight", {d}), b_.weight("bias", {d})}, {{"eps", kHeadEps}, {"heads", heads_}});
    return table_ ? b_.emit(Op::rotary, {normed, table_}, {{"heads", heads_}}) : normed;
  }

  void block(const std::string& name, Value& text, Value& video) {
    const auto scope = b_.scope(name, "CogVideoXBlock");
    const auto m = modulation(b_, "norm1", temb_, 6, dim_, true);
    Value h = norm_zero("norm1", text, video, m);
    {
      const auto attention = b_.scope("attn1");
      const Value q = turned("to_q", "norm_q", h), k = turned("to_k", "norm_k", h), v = project("to_v", h);
      const double scale = 1 / std::sqrt(static_cast<double>(config_.attention_head_dim));
      add_gated("to_out.0", b_.attention(q, k, v, {}, heads_, scale, false), text, video, m);
    }
    const auto n = modulation(b_, "norm2", temb_, 6, dim_, true);
    h = norm_zero("norm2", text, video, n);
    const auto ff = b_.scope("ff");
    add_gated("net.2", b_.activation(linear(b_, "net.0.proj", h, 4 * dim_), config_.activation_fn), text, video, n);
  }

  const CogVideoXTransformer3DConfig& config_;
  const CogVideoXTransformer3DShape& shape_;
  Builder& b_;
  const int64_t dim_, heads_;
  Value temb_, table_;
};

}  // namespace

Graph build_cogvideox_transformer_3d(const CogVideoXTransformer3DConfig& config, const CogVideoXTransformer3DShape& shape, Builder b) {
  CogVideoXTransformer(config, shape, b).build();
  return b.take();
}

CogVideoXTransformer3DShape smallest_cogvideox_transformer_3d(const CogVideoXTransformer3DConfig& config) {
  if (!config.use_learned_positional_embeddings) return {.batch = 1, .video_tokens = 4, .tokens = 2};
  return {.batch = 1, .video_tokens = config.own_tokens(), .tokens = config.max_text_seq_length, .learned = true};
}

}  // namespace vivace
