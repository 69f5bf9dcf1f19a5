// Layers with weights, named as in a PyTorch state dict below the builder's scope. Activations are NHWC or [N, tokens, C].
#pragma once

#include <string>
#include <string_view>

#include "ops/builder.h"
#include "tensor/narrow_weight.h"

namespace vivace {

// The scope of a ModuleList's element.
inline std::string item(std::string_view list, int64_t i) { return std::string(list) + "." + std::to_string(i); }

struct HW {
  int64_t height = 1, width = 1;
};

// name.weight [out, in], name.bias [out]; name.weight_scale [out] where the weight is stored in 8 bits.
inline Value linear(Builder& b, std::string_view name, Value x, int64_t out, bool bias = true) {
  const auto scope = b.scope(name);
  const Value w = b.weight("weight", {out, b.channels(x)}), no_residual;
  const Value added = bias ? b.weight("bias", {out}) : Value{};
  // A quantised checkpoint keeps a scale for each row beside a weight of 8 bits.
  const bool scaled = is_narrow(b.node(w).dtype);
  return b.emit(Op::linear, {x, w, added, no_residual, scaled ? b.cast(b.weight("weight_scale", {out}), DType::float32) : Value{}});
}

// name.weight [out, in, k, k], name.bias [out]; padding [top, left, bottom, right].
inline Value conv2d(Builder& b, std::string_view name, Value x, int64_t out, int64_t kernel, int64_t stride, std::vector<int64_t> padding) {
  const auto scope = b.scope(name);
  const Value w = b.weight("weight", {out, b.channels(x), kernel, kernel});
  return b.conv2d(x, w, b.weight("bias", {out}), stride, std::move(padding));
}

// A convolution that keeps the size: odd kernel, stride 1.
inline Value conv2d_same(Builder& b, std::string_view name, Value x, int64_t out, int64_t kernel) {
  const int64_t p = kernel / 2;
  return conv2d(b, name, x, out, kernel, 1, {p, p, p, p});
}

inline Value group_norm(Builder& b, std::string_view name, Value x, int64_t groups, double eps) {
  const auto scope = b.scope(name);
  const int64_t c = b.channels(x);
  return b.emit(Op::group_norm, {x, b.weight("weight", {c}), b.weight("bias", {c})}, {{"groups", groups}, {"eps", eps}});
}

inline Value layer_norm(Builder& b, std::string_view name, Value x, double eps) {
  const auto scope = b.scope(name);
  const int64_t c = b.channels(x);
  return b.emit(Op::layer_norm, {x, b.weight("weight", {c}), b.weight("bias", {c})}, {{"eps", eps}});
}

// name.weight [D]: of each of the row's heads.
inline Value rms_norm(Builder& b, std::string_view name, Value x, double eps, int64_t heads = 1) {
  const auto scope = b.scope(name);
  return b.emit(Op::rms_norm, {x, b.weight("weight", {b.channels(x) / heads})}, {{"eps", eps}, {"heads", heads}});
}

}  // namespace vivace
