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

bool reads_b(TileOp op) { return op >= TileOp::add && op <= TileOp::div; }

template <class T>
VIVACE_INLINE VF round_to(VF v) {
  alignas(64) typename T::T lanes[kLanes];
  T::store(v, lanes, Full{});
  return T::load(lanes, Full{});
}

// What a register holds: a tile of floats, or an input where it lies.
struct Value {
  const void* p = nullptr;
  DType dtype = DType::float32;
};

// Additions and multiplications, which take less time than a pass over a tile, read narrow inputs and write narrow outputs themselves.
bool is_arithmetic(TileOp op) { return op == TileOp::add || op == TileOp::sub || op == TileOp::mul || op == TileOp::affine; }

// d = a op b, and then * p + q where there is an affine instruction after it.
template <class A, class B, class D>
void arithmetic(const TileInstruction& in, const TileInstruction* then, const void* a, const void* b, void* d, int64_t n) {
  const auto* x = static_cast<const typename A::T*>(a);
  const auto* y = static_cast<const typename B::T*>(b);
  auto* to = static_cast<typename D::T*>(d);
  const auto loop = [&](const auto& f) __attribute__((always_inline)) {
    each_vector(n, [&](int64_t i, auto lanes) { D::store(f(A::load(x + i, lanes), B::load(y + i, lanes)), to + i, lanes); });
  };
  const auto binary = [&](const auto& f) __attribute__((always_inline)) {
    if (!then) return loop(f);
    const VF p = Set(then->p), q = Set(then->q);
    loop([&](VF v, VF w) { return MulAdd(f(v, w), p, q); });
  };
  if (in.op == TileOp::add) return binary([](VF v, VF w) { return v + w; });
  if (in.op == TileOp::sub) return binary([](VF v, VF w) { return v - w; });
  binary([](VF v, VF w) { return v * w; });
}

template <class A, class D>
void affine(const TileInstruction& in, const void* a, void* d, int64_t n) {
  const VF p = Set(in.p), q = Set(in.q);
  const auto* x = static_cast<const typename A::T*>(a);
  auto* to = static_cast<typename D::T*>(d);
  each_vector(n, [&](int64_t i, auto lanes) { D::store(MulAdd(A::load(x + i, lanes), p, q), to + i, lanes); });
}

// call(tag) of Half or Float32.
template <class Half, class Call>
VIVACE_INLINE void with_width(bool narrow, const Call& call) {
  if (narrow) return call(Half{});
  call(Float32{});
}

// Of a, b and d, those that are not float32 have the dtype of `Half`.
template <class Half>
void run_arithmetic(const TileInstruction& in, const TileInstruction* then, Value a, Value b, void* d, bool narrow, int64_t n) {
  with_width<Half>(a.dtype != DType::float32, [&](auto of_a) {
    with_width<Half>(narrow, [&](auto of_d) {
      if (in.op == TileOp::affine) return affine<decltype(of_a), decltype(of_d)>(in, a.p, d, n);
      with_width<Half>(b.dtype != DType::float32,
                       [&](auto of_b) { arithmetic<decltype(of_a), decltype(of_b), decltype(of_d)>(in, then, a.p, b.p, d, n); });
    });
  });
}

void run_instruction(const TileInstruction& in, const float* a, const float* b, float* d, int64_t n) {
  const VF p = Set(in.p), q = Set(in.q), one = Set(1.f);
  switch (in.op) {
    case TileOp::div:
      map(a, b, d, n, [](VF x, VF y) { return x / y; });
      break;
    case TileOp::clamp:
      map(a, d, n, [&](VF x) { return Min(q, Max(p, x)); });
      break;
    case TileOp::exp:
      map(a, d, n, [](VF x) { return vexp(x); });
      break;
    case TileOp::rsqrt:
      map(a, d, n, [&](VF x) { return one / Sqrt(x); });
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
    case TileOp::add:
    case TileOp::sub:
    case TileOp::mul:
    case TileOp::affine:  // run_arithmetic
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
  each_vector(n, [&](int64_t i, auto lanes) { Float32::store(Set(value), d + i, lanes); });
}

struct Machine {
  const TileProgram& program;
  const TileArguments& arguments;
  Value values[kTileRegisters] = {};
  bool joins_next[kTileInstructions] = {};  // with the affine instruction after it, which alone reads its result
  alignas(64) float storage[kTileRegisters][kTile];

  Machine(const TileProgram& p, const TileArguments& a) : program(p), arguments(a) {  // storage stays as it is: 64 KiB to clear otherwise
    for (int i = 0; i + 1 < p.instruction_count; ++i) {
      const TileInstruction &in = p.instructions[i], &next = p.instructions[i + 1];
      joins_next[i] = is_arithmetic(in.op) && in.op != TileOp::affine && next.op == TileOp::affine && next.a == in.dst &&
                      (next.dst == in.dst || !is_read_after(i + 1, in.dst));
    }
  }

  bool is_read_after(int i, int r) const {
    while (++i < program.instruction_count) {
      const TileInstruction& in = program.instructions[i];
      if (in.a == r || in.b == r) return true;  // b may mean nothing: then a pass too many
      if (in.dst == r) return false;
    }
    for (int o = 0; o < program.output_count; ++o)
      if (program.outputs[o].source == r) return true;
    return false;
  }

  // The floats of a register, converted where it lies narrow so far.
  const float* floats(int r, int64_t count) {
    if (values[r].dtype != DType::float32) load_span(values[r].p, values[r].dtype, storage[r], count), values[r] = {storage[r]};
    return static_cast<const float*>(values[r].p);
  }

  // `count` copies of the n values at p, one after the other.
  void repeat(int r, const void* p, int64_t n, int64_t count) {
    load_span(p, program.inputs[r].dtype, storage[r], n);
    for (int64_t k = 1; k < count; ++k) memcpy(storage[r] + k * n, storage[r], static_cast<size_t>(n) * sizeof(float));
    values[r] = {storage[r]};
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
        values[r] = {storage[r]};
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
          values[r] = {p, in.dtype};
        } else {
          for (int64_t k = 0; k < rows; ++k) load_span(at(p, in.dtype, k * stride), in.dtype, storage[r] + k * n, n);
          values[r] = {storage[r]};
        }
      } else if (in.broadcast == TileBroadcast::row) {
        for (int64_t k = 0; k < rows; ++k) fill(storage[r] + k * n, n, load_one(at(arguments.inputs[r], in.dtype, (row + k) * stride), in.dtype));
        values[r] = {storage[r]};
      }
    }
  }

  // Where the tile's only output lies if the last instruction can write it there: without gaps, and float32 or by arithmetic. Null: store_rows has
  // to.
  void* direct_output(int64_t row, int64_t rows, int64_t channel, int64_t n) const {
    const TileOutput& out = program.outputs[0];
    const int64_t stride = arguments.output_strides[0];
    if (program.output_count != 1 || program.instruction_count == 0 || (rows > 1 && stride != n)) return nullptr;
    const TileInstruction& last = program.instructions[program.instruction_count - 1];
    const bool possible = last.dst == out.source && (out.dtype == DType::float32 || is_arithmetic(last.op));
    return possible ? at(arguments.outputs[0], out.dtype, row * stride + channel) : nullptr;
  }

  void execute(int64_t count, void* direct) {
    for (int i = 0; i < program.instruction_count; ++i) {
      const TileInstruction& in = program.instructions[i];
      const TileInstruction* then = joins_next[i] ? &program.instructions[++i] : nullptr;
      const int dst = then ? then->dst : in.dst;
      const bool last = direct != nullptr && i + 1 == program.instruction_count;
      void* target = last ? direct : storage[dst];
      if (is_arithmetic(in.op)) {
        run_arithmetic(in, then, target, last ? program.outputs[0].dtype : DType::float32, count);
      } else {
        run_instruction(in, floats(in.a, count), reads_b(in.op) ? floats(in.b, count) : nullptr, static_cast<float*>(target), count);
      }
      values[dst] = {target};
    }
  }

  // One kind of half precision is read and written in place; what is of the other one passes through floats.
  void run_arithmetic(const TileInstruction& in, const TileInstruction* then, void* target, DType dtype, int64_t count) {
    const bool binary = in.op != TileOp::affine;
    DType half = dtype;
    for (int r : {in.a, binary ? in.b : in.a})
      if (half == DType::float32) half = values[r].dtype;
    for (int r : {in.a, binary ? in.b : in.a})
      if (values[r].dtype != half) floats(r, count);
    const auto run = half == DType::float16 ? VIVACE_SIMD::run_arithmetic<Float16> : VIVACE_SIMD::run_arithmetic<Bfloat16>;
    run(in, then, values[in.a], binary ? values[in.b] : Value{}, target, dtype != DType::float32, count);
  }

  void store_rows(int64_t row, int64_t rows, int64_t channel, int64_t n) {
    for (int o = 0; o < program.output_count; ++o) {
      const TileOutput& out = program.outputs[o];
      const int64_t stride = arguments.output_strides[o];
      void* p = at(arguments.outputs[o], out.dtype, row * stride + channel);
      if (rows == 1 || stride == n) {
        store_span(floats(out.source, rows * n), p, out.dtype, rows * n);
      } else {
        for (int64_t k = 0; k < rows; ++k) store_span(floats(out.source, rows * n) + k * n, at(p, out.dtype, k * stride), out.dtype, n);
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
        void* direct = machine.direct_output(r, rows, c, n);
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
