#include "backends/cpu/kernels/norm_isa.h"
#include "backends/cpu/kernels/norm_rows.h"

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

// v *= act(gate).
template <class Function>
inline void gate_span(float* v, const float* gate, int64_t n, const Function& act) {
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(Float32::load(v + i, lanes) * act(Float32::load(gate + i, lanes)), v + i, lanes); });
}

int64_t gated_rows(const GatedRows& gated, const RowOutput& y, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 1024;
  alignas(64) float buffer[kRowBuffer], gates[kTile];
  int64_t bad = kNoBadRow;
  for (int64_t r = begin; r < end; ++r) {
    const auto piece = [&](int64_t first, int64_t count) {
      for (int64_t c = 0; c < count; c += kTile) {
        const int64_t n = min64(kTile, count - c);
        float* v = buffer + c;
        const float* gate = as_floats(row_of(gated.gate, r, first + c), gated.gate.dtype, gates, n);
        load_span(row_of(gated.hidden, r, first + c), gated.hidden.dtype, v, n);
        switch (gated.act) {
          case Act::none: gate_span(v, gate, n, [](VF x) { return x; }); break;
          case Act::silu: gate_span(v, gate, n, [](VF x) { return vsilu(x); }); break;
          case Act::gelu: gate_span(v, gate, n, [](VF x) { return vgelu(x); }); break;
          case Act::gelu_tanh: gate_span(v, gate, n, [](VF x) { return vgelu_tanh(x); }); break;
          case Act::quick_gelu: gate_span(v, gate, n, [](VF x) { return vquick_gelu(x); }); break;
          case Act::relu: gate_span(v, gate, n, [](VF x) { return vrelu(x); }); break;
        }
      }
      return static_cast<const float*>(buffer);
    };
    if (finish_row(y, r, gated.channels, piece) && bad == kNoBadRow) bad = r;
  }
  return bad;
}

// The largest of scale * v, a NaN first of all.
float max_span(const float* v, int64_t n, VF scale) {
  VF largest = splat(-__builtin_inff()), poison = splat(0.f);
  int64_t i = 0;
  const auto see = [&](VF x) {
    largest = max_or_b(largest, x);
    poison = select(is_nan(x), x, poison);
  };
  for (; i + kLanes <= n; i += kLanes) see(load_f32(v + i) * scale);
  for (; i < n; ++i) see(splat(v[i]) * scale);
  return any(is_nan(poison)) ? __builtin_nanf("") : reduce_max(largest);
}

void softmax_rows(const RowInput& x, int64_t channels, float scale, const RowOutput& y, int64_t begin, int64_t end) {
  alignas(64) float buffer[kRowBuffer], raw[kRowBuffer];
  const VF factor = splat(scale);
  const bool whole = channels <= kRowBuffer;
  for (int64_t r = begin; r < end; ++r) {
    float largest = -__builtin_inff();
    const float* values = nullptr;
    for (int64_t c = 0; c < channels; c += kRowBuffer) {
      const int64_t n = min64(kRowBuffer, channels - c);
      values = as_floats(row_of(x, r, c), x.dtype, raw, n);
      const float piece = max_span(values, n, factor);
      largest = piece > largest || piece != piece ? piece : largest;
    }
    // exp(scale * v - largest) into the buffer, and their sum.
    const auto exponentials = [&](int64_t c, int64_t n) {
      if (!whole) values = as_floats(row_of(x, r, c), x.dtype, raw, n);
      return sum_span(n, [&](int64_t i, auto lanes) {
        const VF e = zero_unused(vexp(Float32::load(values + i, lanes) * factor - splat(largest)), lanes);
        Float32::store(e, buffer + i, lanes);
        return e;
      });
    };
    double sum = 0;
    for (int64_t c = 0; c < channels; c += kRowBuffer) sum += exponentials(c, min64(kRowBuffer, channels - c));
    const VF share = splat(static_cast<float>(1.0 / sum));
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

const RowKernels kRowKernels = {quantize_rows, gated_rows, softmax_rows};

}  // namespace vivace::cpu::VIVACE_SIMD
