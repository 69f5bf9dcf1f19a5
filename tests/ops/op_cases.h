// Ops on awkward little shapes.
#pragma once

#include <ostream>
#include <vector>

#include "ops/builder.h"

namespace vivace {

struct OpCase {
  const char* name;
  Value (*build)(Builder&);
  double terms;  // of the longest sum behind one output value
  friend void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }
};

inline Value x4(Builder& b, int64_t c, int64_t h = 6, int64_t w = 5) { return b.input("x", b.dtype(), {2, h, w, c}); }
inline Value x3(Builder& b, int64_t tokens, int64_t c, const char* name = "x") { return b.input(name, b.dtype(), {2, tokens, c}); }
inline Value x5(Builder& b, int64_t frames, int64_t c, const char* name = "x") { return b.input(name, b.dtype(), {2, frames, 6, 5, c}); }
inline Value vec(Builder& b, const char* name, int64_t n) { return b.weight(name, {n}); }
inline const std::vector<int64_t> kSame{1, 1, 1, 1};

// Of x [2, frames, 8, 12, channels] by z [2, few, 4, 3, 5].
inline Value spatial_norm(Builder& b, int64_t frames, int64_t few, int64_t channels, const char* act) {
  const Value x = b.input("x", b.dtype(), {2, frames, 8, 12, channels}), z = b.input("z", b.dtype(), {2, few, 4, 3, 5});
  Attrs attrs{{"groups", int64_t{2}}, {"eps", 1e-6}};
  if (*act) attrs.set("act", act);
  return b.emit(Op::spatial_norm,
                {x, vec(b, "g.weight", channels), vec(b, "g.bias", channels), z, b.weight("y", {5, channels}), vec(b, "y.bias", channels),
                 b.weight("s", {5, channels}), vec(b, "s.bias", channels)},
                attrs);
}

inline const OpCase kOpCases[] = {
    {"linear",
     [](Builder& b) {
       return b.emit(Op::linear, {x3(b, 7, 48), b.weight("w", {40, 48}), vec(b, "b", 40)});
     },
     48},
    {"linear_act_residual",
     [](Builder& b) {
       return b.emit(Op::linear, {x3(b, 7, 33), b.weight("w", {24, 33}), vec(b, "b", 24), x3(b, 7, 24, "r")}, {{"act", "quick_gelu"}});
     },
     33},
    {"linear_gate_residual",
     [](Builder& b) {
       const Value none, gate = b.input("g", DType::float32, {2, 1, 24});
       return b.emit(Op::linear, {x3(b, 7, 32), b.weight("w", {24, 32}), vec(b, "b", 24), x3(b, 7, 24, "r"), none, gate});
     },
     33},
    {"linear_one_gate",
     [](Builder& b) {
       const Value none, gate = b.input("g", DType::float32, {1, 1, 24});
       return b.emit(Op::linear, {x3(b, 7, 33), b.weight("w", {24, 33}), none, none, none, gate});
     },
     33},
    {"gated_silu_linear",
     [](Builder& b) {
       return b.emit(Op::geglu_linear, {x3(b, 9, 32), b.weight("w", {64, 32}), vec(b, "b", 64)}, {{"act", "silu"}});
     },
     32},
    {"gated_gelu_tanh_linear",
     [](Builder& b) {
       return b.emit(Op::geglu_linear, {x3(b, 9, 32), b.weight("w", {64, 32})}, {{"act", "gelu_tanh"}});
     },
     32},
    {"geglu_linear",
     [](Builder& b) {
       return b.emit(Op::geglu_linear, {x3(b, 9, 32), b.weight("w", {64, 32}), vec(b, "b", 64)});
     },
     32},
    {"geglu", [](Builder& b) { return b.emit(Op::geglu, {x3(b, 5, 64)}); }, 1},
    {"conv3x3",
     [](Builder& b) {
       return b.conv2d(x4(b, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24), 1, kSame);
     },
     144},
    {"conv3x3_stride2",
     [](Builder& b) {
       return b.conv2d(x4(b, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24), 2, {0, 0, 1, 1});
     },
     144},
    {"conv1x1",
     [](Builder& b) {
       return b.conv2d(x4(b, 20), b.weight("w", {12, 20, 1, 1}), vec(b, "b", 12), 1, {0, 0, 0, 0});
     },
     20},
    {"conv5x5",
     [](Builder& b) {
       return b.conv2d(x4(b, 8), b.weight("w", {8, 8, 5, 5}), vec(b, "b", 8), 1, {2, 2, 2, 2});
     },
     200},
    {"conv_all",
     [](Builder& b) {
       const Value t = b.input("t", DType::float32, {2, 24});
       return b.emit(Op::conv2d, {x4(b, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24), t, b.input("r", b.dtype(), {2, 6, 5, 24})},
                     {{"stride", int64_t{1}}, {"padding", kSame}, {"act", "silu"}});
     },
     144},
    {"conv_image_bias",
     [](Builder& b) {
       const Value x = b.input("x", b.dtype(), {1, 6, 5, 16}), t = b.input("t", DType::float32, {1, 24});
       return b.emit(Op::conv2d, {x, b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24), t},
                     {{"stride", int64_t{1}}, {"padding", kSame}, {"act", "silu"}});
     },
     144},
    {"upsample_conv2d",
     [](Builder& b) {
       return b.emit(Op::upsample_conv2d, {x4(b, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24)});
     },
     144},
    {"conv_of_frames",
     [](Builder& b) {
       return b.conv2d(x5(b, 3, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24), 2, {0, 0, 1, 1});
     },
     144},
    {"upsample_conv2d_of_frames",
     [](Builder& b) {
       return b.emit(Op::upsample_conv2d, {x5(b, 3, 16), b.weight("w", {24, 16, 3, 3}), vec(b, "b", 24)});
     },
     144},
    {"conv3d",
     [](Builder& b) {
       return b.emit(Op::conv3d, {x5(b, 5, 16), b.weight("w", {24, 16, 3, 3, 3}), vec(b, "b", 24)}, {{"padding", kSame}});
     },
     432},
    // Channels that fill no register tile of a frame, two frames, no padding.
    {"conv3d_all",
     [](Builder& b) {
       return b.emit(Op::conv3d, {x5(b, 4, 35), b.weight("w", {40, 35, 2, 3, 3}), vec(b, "b", 40), b.input("r", b.dtype(), {2, 3, 4, 3, 40})},
                     {{"act", "silu"}});
     },
     630},
    {"conv3d_wide",
     [](Builder& b) {
       return b.emit(Op::conv3d, {x5(b, 3, 130), b.weight("w", {16, 130, 3, 3, 3})}, {{"padding", kSame}});
     },
     3510},
    {"conv3d_of_pixels",
     [](Builder& b) {
       return b.emit(Op::conv3d, {x5(b, 4, 20), b.weight("w", {12, 20, 3, 1, 1}), vec(b, "b", 12)});
     },
     60},
    {"conv3d_one_frame",
     [](Builder& b) {
       return b.emit(Op::conv3d, {x5(b, 2, 16), b.weight("w", {24, 16, 1, 3, 3}), vec(b, "b", 24)}, {{"padding", kSame}});
     },
     144},
    {"repeat_interleave",
     [](Builder& b) {
       return b.emit(Op::repeat_interleave, {x5(b, 5, 6)}, {{"axis", int64_t{1}}, {"repeats", int64_t{3}}, {"keep", int64_t{1}}});
     },
     1},
    {"repeat_interleave_all",
     [](Builder& b) {
       return b.emit(Op::repeat_interleave, {x5(b, 2, 6)}, {{"axis", int64_t{-1}}, {"repeats", int64_t{2}}});
     },
     1},
    {"avg_pool",
     [](Builder& b) {
       return b.emit(Op::avg_pool, {x5(b, 7, 6)}, {{"axis", int64_t{1}}, {"size", int64_t{2}}, {"keep", int64_t{1}}});
     },
     2},
    {"avg_pool_all",
     [](Builder& b) {
       return b.emit(Op::avg_pool, {x5(b, 6, 3)}, {{"axis", int64_t{1}}, {"size", int64_t{3}}});
     },
     3},
    {"avg_pool_nothing",
     [](Builder& b) {
       return b.emit(Op::avg_pool, {x5(b, 1, 3)}, {{"axis", int64_t{1}}, {"size", int64_t{2}}, {"keep", int64_t{1}}});
     },
     1},
    {"spatial_norm", [](Builder& b) { return spatial_norm(b, 4, 2, 24, "silu"); }, 90},
    {"spatial_norm_first_apart", [](Builder& b) { return spatial_norm(b, 5, 3, 30, ""); }, 90},
    {"spatial_norm_one_frame", [](Builder& b) { return spatial_norm(b, 1, 1, 1040, "silu"); }, 90},
    {"group_norm_of_frames",
     [](Builder& b) {
       return b.emit(Op::group_norm, {x5(b, 3, 24), vec(b, "g.weight", 24), vec(b, "g.bias", 24)}, {{"groups", int64_t{8}}, {"eps", 1e-6}});
     },
     270},
    {"group_norm",
     [](Builder& b) {
       return b.emit(Op::group_norm, {x4(b, 24), vec(b, "g.weight", 24), vec(b, "g.bias", 24)},
                     {{"groups", int64_t{8}}, {"eps", 1e-5}, {"act", "silu"}});
     },
     90},
    {"layer_norm",
     [](Builder& b) {
       return b.emit(Op::layer_norm, {x3(b, 7, 40), vec(b, "g.weight", 40), vec(b, "g.bias", 40)}, {{"eps", 1e-5}});
     },
     40},
    {"layer_norm_of_images",
     [](Builder& b) {
       const Value scale = b.input("s", DType::float32, {2, 1, 40}), shift = b.input("t", DType::float32, {1, 1, 40});
       return b.emit(Op::layer_norm, {x3(b, 7, 40), scale, shift}, {{"eps", 1e-6}});
     },
     40},
    {"layer_norm_without_weights",
     [](Builder& b) {
       return b.emit(Op::layer_norm, {x3(b, 7, 40)}, {{"eps", 1e-6}});
     },
     40},
    {"layer_norm_heads",
     [](Builder& b) {
       return b.emit(Op::layer_norm, {x3(b, 7, 120)}, {{"eps", 1e-5}, {"heads", int64_t{3}}});
     },
     40},
    {"rms_norm",
     [](Builder& b) {
       return b.emit(Op::rms_norm, {x3(b, 7, 40), vec(b, "g.weight", 40)}, {{"eps", 1e-6}});
     },
     40},
    {"rms_norm_heads",
     [](Builder& b) {
       return b.emit(Op::rms_norm, {x3(b, 7, 120), vec(b, "g.weight", 40)}, {{"eps", 1e-6}, {"heads", int64_t{3}}});
     },
     40},
    {"rms_norm_rotary",
     [](Builder& b) {
       return b.emit(Op::rms_norm, {x3(b, 7, 126), vec(b, "g.weight", 42), b.input("t", DType::float32, {7, 42})},
                     {{"eps", 1e-6}, {"heads", int64_t{3}}});
     },
     42},
    {"rotary",
     [](Builder& b) {
       return b.emit(Op::rotary, {x3(b, 7, 108), b.input("t", DType::float32, {7, 36})}, {{"heads", int64_t{3}}});
     },
     4},
    {"depth_to_space",
     [](Builder& b) {
       return b.emit(Op::depth_to_space, {x4(b, 12)}, {{"block", int64_t{2}}});
     },
     1},
    {"center_crop",
     [](Builder& b) {
       return b.emit(Op::center_crop, {b.input("t", b.dtype(), {64, 12}), x4(b, 3, 5, 4)});
     },
     1},
    {"rotary_table",
     [](Builder& b) {
       const Value positions = b.affine(b.input("p", DType::float32, {9, 3}), 50, 0);
       return b.cast(b.emit(Op::rotary_table, {positions}, {{"dims", std::vector<int64_t>{4, 6, 8}}, {"theta", 1e4}}), b.dtype());
     },
     1},
    {"relative_position_bias",
     [](Builder& b) {
       const Value table = b.input("t", DType::float32, {32, 3});
       return b.cast(b.emit(Op::relative_position_bias, {table, b.input("x", b.dtype(), {1, 140, 2})}, {{"max_distance", int64_t{128}}}), b.dtype());
     },
     1},
    {"attention_bias_of_heads",
     [](Builder& b) {
       const Value x = x3(b, 13, 48);
       return b.attention(x, x, x, b.input("m", DType::float32, {1, 3, 13, 13}), 3, 1, false);
     },
     48},
    {"attention_bias_of_images_and_heads",
     [](Builder& b) {
       const Value q = x3(b, 6, 80), k = x3(b, 13, 80, "k");
       return b.attention(q, k, k, b.input("m", DType::float32, {2, 2, 6, 13}), 2, 0.16, false);
     },
     80},
    {"hadamard",
     [](Builder& b) {
       return b.emit(Op::hadamard, {b.cast(x3(b, 7, 256), DType::float32)}, {{"block", int64_t{128}}});
     },
     128},
    {"softmax", [](Builder& b) { return b.emit(Op::softmax, {x3(b, 7, 33)}); }, 33},
    {"attention_self",
     [](Builder& b) {
       const Value x = x3(b, 20, 64);
       return b.attention(x, x, x, {}, 2, 0.18, false);
     },
     64},
    {"attention_causal",
     [](Builder& b) {
       const Value x = x3(b, 19, 48);
       return b.attention(x, x, x, {}, 2, 0.2, true);
     },
     48},
    {"attention_mask",
     [](Builder& b) {
       return b.attention(x3(b, 6, 80), x3(b, 13, 80, "k"), x3(b, 13, 80, "v"), b.input("m", DType::float32, {6, 13}), 2, 0.16, false);
     },
     80},
    {"upsample_nearest_of_frames",
     [](Builder& b) {
       return b.emit(Op::upsample_nearest, {x5(b, 3, 8), b.input("like", b.dtype(), {1, 1, 12, 15, 3})});
     },
     1},
    {"upsample_nearest",
     [](Builder& b) {
       return b.emit(Op::upsample_nearest, {x4(b, 8), b.input("like", b.dtype(), {2, 11, 10, 3})});
     },
     1},
    {"concat",
     [](Builder& b) {
       return b.concat({x3(b, 5, 8), x3(b, 5, 3, "k")}, -1);
     },
     1},
    {"transpose",
     [](Builder& b) {
       return b.transpose(b.input("x", b.dtype(), {37, 70}), {1, 0});
     },
     1},
    {"expand_rows",
     [](Builder& b) {
       return b.emit(Op::expand_rows, {b.input("x", b.dtype(), {1, 24}), x3(b, 5, 8, "like")});
     },
     1},
    {"slice_like",
     [](Builder& b) {
       return b.emit(Op::slice, {x3(b, 5, 8), b.input("like", b.dtype(), {4, 3})}, {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}});
     },
     1},
    {"add_table_and_rows",
     [](Builder& b) {
       return b.add(b.input("t", b.dtype(), {5, 1, 24}), b.input("r", b.dtype(), {3, 24}));
     },
     1},
    {"slice_last_like",
     [](Builder& b) {
       return b.emit(Op::slice, {x3(b, 5, 8), b.input("like", b.dtype(), {4, 3})},
                     {{"axis", int64_t{1}}, {"like_axis", int64_t{1}}, {"back", int64_t{1}}});
     },
     1},
    {"slice_rows", [](Builder& b) { return b.slice(x3(b, 5, 8), 1, 1, -1); }, 1},
    {"tile",
     [](Builder& b) {
       return b.emit(
           Op::tile, {x3(b, 5, 24), b.input("k", b.dtype(), {2, 1, 24}), b.input("s", b.dtype(), {24})},
           {{"program", "t0=affine i0 scale=0.5 shift=1;t1=mul t0 i1;t2=add t1 i2;t3=silu t2"}, {"to", std::string(dtype_name(b.dtype()))}});
     },
     4},
    {"broadcast_positions",
     [](Builder& b) {
       return b.add(x3(b, 7, 16), b.input("p", b.dtype(), {7, 16}));
     },
     1},
};

}  // namespace vivace
