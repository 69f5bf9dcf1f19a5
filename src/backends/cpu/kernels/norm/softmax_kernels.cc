#include "backends/cpu/kernels/norm/isa.h"
#include "backends/cpu/kernels/norm/rows.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

int64_t quantize_rows(const RowInput& x, int64_t channels, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer];
  int64_t bad = kNoBadRow;
  for (int64_t r = begin; r < end; ++r) {
    const auto piece = [&](int64_t c, int64_t n) { return as_floats(row_of(x, r, c), x.dtype, buffer, n); };
    if (finish_row(y, r, channels, piece) && bad == kNoBadRow) bad = r;
  }
  return bad;
}

// v = hidden * act(gate).
template <class X, class Function>
inline void gate_span(const void* hidden, const void* gate, float* v, int64_t n, const Function& act) {
  const auto* h = static_cast<const typename X::T*>(hidden);
  const auto* g = static_cast<const typename X::T*>(gate);
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(X::load(h + i, lanes) * act(X::load(g + i, lanes)), v + i, lanes); });
}

void gate_span(const void* hidden, const void* gate, DType dtype, Act act, float* v, int64_t n) {
  with_type(dtype, [&](auto type) {
    using X = decltype(type);
    switch (act) {
      case Act::none:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return x; });
        break;
      case Act::silu:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return vsilu(x); });
        break;
      case Act::gelu:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return vgelu(x); });
        break;
      case Act::gelu_tanh:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return vgelu_tanh(x); });
        break;
      case Act::quick_gelu:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return vquick_gelu(x); });
        break;
      case Act::relu:
        gate_span<X>(hidden, gate, v, n, [](VF x) { return vrelu(x); });
        break;
    }
  });
}

int64_t gated_rows(const GatedRows& gated, const RowOutput& y, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 1024;
  alignas(64) float buffer[kRowBuffer], hiddens[kTile], gates[kTile];
  const bool one_dtype = gated.hidden.dtype == gated.gate.dtype;
  int64_t bad = kNoBadRow;
  for (int64_t r = begin; r < end; ++r) {
    const auto piece = [&](int64_t first, int64_t count) {
      if (one_dtype) {
        gate_span(row_of(gated.hidden, r, first), row_of(gated.gate, r, first), gated.hidden.dtype, gated.act, buffer, count);
        return static_cast<const float*>(buffer);
      }
      for (int64_t c = 0; c < count; c += kTile) {
        const int64_t n = min64(kTile, count - c);
        const float* hidden = as_floats(row_of(gated.hidden, r, first + c), gated.hidden.dtype, hiddens, n);
        const float* gate = as_floats(row_of(gated.gate, r, first + c), gated.gate.dtype, gates, n);
        gate_span(hidden, gate, DType::float32, gated.act, buffer + c, n);
      }
      return static_cast<const float*>(buffer);
    };
    if (finish_row(y, r, gated.channels, piece) && bad == kNoBadRow) bad = r;
  }
  return bad;
}

// The largest of scale * v, passing over NaN: the sum of the exponentials will be NaN then.
float max_span(const float* v, int64_t n, VF scale) {
  VF a = Set(-__builtin_inff()), b = a;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = Max(LoadU(v + i) * scale, a);
    b = Max(LoadU(v + i + kLanes) * scale, b);
  }
  if (n >= kLanes) {  // the rest, some of it for the second time
    a = Max(LoadU(v + min64(i, n - kLanes)) * scale, a);
    b = Max(LoadU(v + n - kLanes) * scale, b);
  } else {
    for (; i < n; ++i) a = Max(Set(v[i]) * scale, a);
  }
  return ReduceMax(Max(a, b));
}

void softmax_rows(const RowInput& x, int64_t channels, float scale, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer], raw[kRowBuffer];
  const VF factor = Set(scale);
  const bool whole = channels <= kRowBuffer;
  for (int64_t r = begin; r < end; ++r) {
    float largest = -__builtin_inff();
    const float* values = nullptr;
    for (int64_t c = 0; c < channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, channels - c);
      values = as_floats(row_of(x, r, c), x.dtype, raw, n);
      const float piece = max_span(values, n, factor);
      largest = piece > largest ? piece : largest;
    }
    // exp(scale * v - largest) into the buffer, and their sum.
    const auto exponentials = [&](int64_t c, int64_t n) {
      if (!whole) values = as_floats(row_of(x, r, c), x.dtype, raw, n);
      return sum_span(n, [&](int64_t i, auto lanes) {
        const VF e = zero_unused(vexp(Float32::load(values + i, lanes) * factor - Set(largest)), lanes);
        Float32::store(e, buffer + i, lanes);
        return e;
      });
    };
    double sum = 0;
    for (int64_t c = 0; c < channels; c += kRowBuffer) sum += exponentials(c, min64(kRowBuffer, channels - c));
    const VF share = Set(static_cast<float>(1.0 / sum));
    for (int64_t c = 0; c < channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, channels - c);
      if (!whole) exponentials(c, n);
      with_type(y.dtype, [&](auto type) {
        using Y = decltype(type);
        auto* out = static_cast<typename Y::T*>(row_of(y, r, c));
        each_vector(n, [&](int64_t i, auto lanes) { Y::store(Float32::load(buffer + i, lanes) * share, out + i, lanes); });
      });
    }
  }
}

}  // namespace

const RowKernels kRowKernels = {quantize_rows, gated_rows, turn_blocks, softmax_rows};

}  // namespace vivace::cpu::VIVACE_SIMD
