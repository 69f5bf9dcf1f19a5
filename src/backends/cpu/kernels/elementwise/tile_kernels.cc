#include "backends/cpu/kernels/elementwise/isa.h"
#include "backends/cpu/kernels/vecmath/functions.h"
#include "backends/cpu/kernels/vecmath/span.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Floats a register holds: 4 KiB, so that the three or four registers of a usual program share L1 with what streams through it.
inline constexpr int64_t kTile = 1024;

template <class Function>
VIVACE_INLINE void map(const float* a, float* d, int64_t n, const Function& f) {
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(f(Float32::load(a + i, lanes)), d + i, lanes); });
}

template <class Function>
VIVACE_INLINE void map(const float* a, const float* b, float* d, int64_t n, const Function& f) {
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(f(Float32::load(a + i, lanes), Float32::load(b + i, lanes)), d + i, lanes); });
}

template <class T>
VIVACE_INLINE VF round_to(VF v) {
  alignas(64) typename T::T lanes[kLanes];
  T::store(v, lanes, Full{});
  return T::load(lanes, Full{});
}

void run_instruction(const TileInstruction& in, const float* a, const float* b, float* d, int64_t n) {
  const VF p = splat(in.p), q = splat(in.q), one = splat(1.f);
  switch (in.op) {
    case TileOp::add:
      map(a, b, d, n, [](VF x, VF y) { return x + y; });
      break;
    case TileOp::sub:
      map(a, b, d, n, [](VF x, VF y) { return x - y; });
      break;
    case TileOp::mul:
      map(a, b, d, n, [](VF x, VF y) { return x * y; });
      break;
    case TileOp::div:
      map(a, b, d, n, [](VF x, VF y) { return x / y; });
      break;
    case TileOp::affine:
      map(a, d, n, [&](VF x) { return fma(x, p, q); });
      break;
    case TileOp::clamp:
      map(a, d, n, [&](VF x) { return min_or_b(q, max_or_b(p, x)); });
      break;
    case TileOp::exp:
      map(a, d, n, [](VF x) { return vexp(x); });
      break;
    case TileOp::rsqrt:
      map(a, d, n, [&](VF x) { return one / square_root(x); });
      break;
    case TileOp::silu:
      map(a, d, n, [](VF x) { return vsilu(x); });
      break;
    case TileOp::gelu:
      map(a, d, n, [](VF x) { return vgelu(x); });
      break;
    case TileOp::gelu_tanh:
      map(a, d, n, [](VF x) { return vgelu_tanh(x); });
      break;
    case TileOp::quick_gelu:
      map(a, d, n, [](VF x) { return vquick_gelu(x); });
      break;
    case TileOp::relu:
      map(a, d, n, [](VF x) { return vrelu(x); });
      break;
    case TileOp::cast:
      with_type(in.dtype, [&](auto type) { map(a, d, n, [](VF x) { return round_to<decltype(type)>(x); }); });
      break;
  }
}

float load_one(const void* p, DType dtype) {
  float value;
  load_span(p, dtype, &value, 1);
  return value;
}

void fill(float* d, int64_t n, float value) {
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(splat(value), d + i, lanes); });
}

struct Machine {
  const TileProgram& program;
  const TileArguments& arguments;
  const float* values[kTileRegisters] = {};
  alignas(64) float storage[kTileRegisters][kTile];

  Machine(const TileProgram& p, const TileArguments& a) : program(p), arguments(a) {}  // storage stays as it is: 64 KiB to clear otherwise

  // `count` copies of the n values at p, one after the other.
  void repeat(int r, const void* p, int64_t n, int64_t count) {
    load_span(p, program.inputs[r].dtype, storage[r], n);
    for (int64_t k = 1; k < count; ++k) memcpy(storage[r] + k * n, storage[r], static_cast<size_t>(n) * sizeof(float));
    values[r] = storage[r];
  }

  // Inputs that do not change with the row; those of image_channel when `images` is set, the others when it is not.
  void load_constant(bool images, int64_t image, int64_t channel, int64_t n, int64_t rows) {
    for (int r = 0; r < program.input_count; ++r) {
      const TileInput& in = program.inputs[r];
      const void* p = arguments.inputs[r];
      if (in.broadcast == TileBroadcast::image_channel && images) {
        repeat(r, at(p, in.dtype, image * arguments.input_strides[r] + channel), n, rows);
      } else if (in.broadcast == TileBroadcast::channel && !images) {
        repeat(r, at(p, in.dtype, channel), n, rows);
      } else if (in.broadcast == TileBroadcast::scalar && !images) {
        fill(storage[r], n * rows, load_one(p, in.dtype));
        values[r] = storage[r];
      }
    }
  }

  void load_rows(int64_t row, int64_t rows, int64_t channel, int64_t n) {
    for (int r = 0; r < program.input_count; ++r) {
      const TileInput& in = program.inputs[r];
      const int64_t stride = arguments.input_strides[r];
      if (in.broadcast == TileBroadcast::full) {
        const void* p = at(arguments.inputs[r], in.dtype, row * stride + channel);
        if (rows == 1 || stride == n) {
          values[r] = as_floats(p, in.dtype, storage[r], rows * n);
        } else {
          for (int64_t k = 0; k < rows; ++k) load_span(at(p, in.dtype, k * stride), in.dtype, storage[r] + k * n, n);
          values[r] = storage[r];
        }
      } else if (in.broadcast == TileBroadcast::row) {
        for (int64_t k = 0; k < rows; ++k) fill(storage[r] + k * n, n, load_one(at(arguments.inputs[r], in.dtype, (row + k) * stride), in.dtype));
        values[r] = storage[r];
      }
    }
  }

  // Where the tile's only output lies if the last instruction can write it there: float32 without gaps. Null: store_rows has to.
  float* direct_output(int64_t row, int64_t rows, int64_t channel, int64_t n) const {
    const TileOutput& out = program.outputs[0];
    const int64_t stride = arguments.output_strides[0];
    const bool possible = program.output_count == 1 && program.instruction_count > 0 && out.dtype == DType::float32 && (rows == 1 || stride == n) &&
                          program.instructions[program.instruction_count - 1].dst == out.source;
    return possible ? static_cast<float*>(arguments.outputs[0]) + row * stride + channel : nullptr;
  }

  void execute(int64_t count, float* direct) {
    for (int i = 0; i < program.instruction_count; ++i) {
      const TileInstruction& in = program.instructions[i];
      float* target = direct != nullptr && i + 1 == program.instruction_count ? direct : storage[in.dst];
      run_instruction(in, values[in.a], values[in.b], target, count);
      values[in.dst] = target;
    }
  }

  void store_rows(int64_t row, int64_t rows, int64_t channel, int64_t n) {
    for (int o = 0; o < program.output_count; ++o) {
      const TileOutput& out = program.outputs[o];
      const int64_t stride = arguments.output_strides[o];
      void* p = at(arguments.outputs[o], out.dtype, row * stride + channel);
      if (rows == 1 || stride == n) {
        store_span(values[out.source], p, out.dtype, rows * n);
      } else {
        for (int64_t k = 0; k < rows; ++k) store_span(values[out.source] + k * n, at(p, out.dtype, k * stride), out.dtype, n);
      }
    }
  }
};

int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

void run(const TileProgram& program, const TileArguments& arguments, int64_t row, int64_t row_end, int64_t channel, int64_t channel_end) {
  Machine machine(program, arguments);
  const int64_t per_image = arguments.rows_per_image > 0 ? arguments.rows_per_image : arguments.rows;
  for (int64_t c = channel; c < channel_end; c += kTile) {
    const int64_t n = min64(kTile, channel_end - c), step = kTile / n;  // narrow rows share a tile
    machine.load_constant(false, 0, c, n, step);
    for (int64_t r = row; r < row_end;) {
      const int64_t image = r / per_image, image_end = min64(row_end, (image + 1) * per_image);
      machine.load_constant(true, image, c, n, step);
      for (; r < image_end; r += step) {
        const int64_t rows = min64(step, image_end - r);
        machine.load_rows(r, rows, c, n);
        float* direct = machine.direct_output(r, rows, c, n);
        machine.execute(rows * n, direct);
        if (direct == nullptr) machine.store_rows(r, rows, c, n);
      }
      r = image_end;
    }
  }
}

}  // namespace

const TileKernels kTileKernels = {run};

}  // namespace vivace::cpu::VIVACE_SIMD
