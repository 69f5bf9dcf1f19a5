#include "codegen/cuda_source.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Loads and stores; printed in front of every kernel. 16 bytes are the widest access of a thread.
constexpr std::string_view kHelpers = R"(template <class T>
struct alignas(16) Wide {
  T at[16 / sizeof(T)];
};
template <class T>
__device__ inline void load(const T* p, int n, float (&x)[8]) {
  if (n == 8 && (unsigned long long)p % 16 == 0) {
    for (int i = 0; i < 8; i += 16 / sizeof(T)) {
      const Wide<T> w = *(const Wide<T>*)(p + i);
      for (int j = 0; j < (int)(16 / sizeof(T)); ++j) x[i + j] = to_float(w.at[j]);
    }
  } else {
    for (int k = 0; k < 8; ++k) x[k] = k < n ? to_float(p[k]) : 0.f;
  }
}
template <class T>
__device__ inline void store(const float (&y)[8], int n, T* p) {
  if (n == 8 && (unsigned long long)p % 16 == 0) {
    for (int i = 0; i < 8; i += 16 / sizeof(T)) {
      Wide<T> w;
      for (int j = 0; j < (int)(16 / sizeof(T)); ++j) from_float(y[i + j], w.at[j]);
      *(Wide<T>*)(p + i) = w;
    }
  } else {
    for (int k = 0; k < n; ++k) from_float(y[k], p[k]);
  }
}
template <class T>
__device__ inline float rounded(float x) {
  T narrow;
  from_float(x, narrow);
  return to_float(narrow);
}
)";

struct CudaType {
  DType dtype;
  std::string_view name, header, convert;  // convert: to_float and from_float
};
constexpr CudaType kTypes[] = {
    {DType::float32, "float", "",
     "__device__ inline float to_float(float x) { return x; }\n__device__ inline void from_float(float x, float& y) { y = x; }\n"},
    {DType::bfloat16, "__nv_bfloat16", "cuda_bf16.h",
     "__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }\n"
     "__device__ inline void from_float(float x, __nv_bfloat16& y) { y = __float2bfloat16(x); }\n"},
    {DType::float16, "__half", "cuda_fp16.h",
     "__device__ inline float to_float(__half x) { return __half2float(x); }\n__device__ inline void from_float(float x, __half& y) { y = "
     "__float2half(x); }\n"},
};

const CudaType& type_of(DType dtype) {
  for (const CudaType& type : kTypes)
    if (type.dtype == dtype) return type;
  throw InternalError(cat("no CUDA source for tile programs of ", dtype_name(dtype)));
}

// "0.5f", "3.f", "1e-05f".
std::string number(double value) {
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(value)).ptr);
  return text + (text.find_first_of(".e") == std::string::npos ? ".f" : "f");
}

std::string expression(const TileInstruction& t, const std::string& a, const std::string& b) {
  switch (elementwise(t.op)) {
    case Elementwise::add:
      return cat(a, " + ", b);
    case Elementwise::sub:
      return cat(a, " - ", b);
    case Elementwise::mul:
      return cat(a, " * ", b);
    case Elementwise::div:
      return cat(a, " / ", b);
    case Elementwise::silu:
      return cat(a, " / (1.f + expf(-", a, "))");
    case Elementwise::gelu:
      return cat("0.5f * ", a, " * (1.f + erff(0.70710678f * ", a, "))");
    case Elementwise::gelu_tanh:
      return cat("0.5f * ", a, " * (1.f + tanhf(0.79788456f * (", a, " + 0.044715f * ", a, " * ", a, " * ", a, ")))");
    case Elementwise::quick_gelu:
      return cat(a, " / (1.f + expf(-1.702f * ", a, "))");
    case Elementwise::relu:
      return cat(a, " < 0.f ? 0.f : ", a);
    case Elementwise::exp:
      return cat("expf(", a, ")");
    case Elementwise::rsqrt:
      return cat("rsqrtf(", a, ")");
    case Elementwise::affine:
      return cat(a, " * ", number(t.attrs.real("scale", 1)), " + ", number(t.attrs.real("shift")));
    case Elementwise::clamp: {
      const std::string low = number(t.attrs.real("min")), high = number(t.attrs.real("max"));
      return cat(a, " < ", low, " ? ", low, " : ", a, " > ", high, " ? ", high, " : ", a);
    }
    case Elementwise::cast:
      return cat("rounded<", type_of(parse_dtype(t.attrs.text("to"))).name, ">(", a, ")");
  }
  throw InternalError(cat("no CUDA source for ", op_name(t.op), " in a tile program"));
}

bool is_vector(TileBroadcast broadcast) { return broadcast != TileBroadcast::row && broadcast != TileBroadcast::scalar; }

std::string load_input(size_t i, TileBroadcast broadcast) {
  const std::string in = cat("i", i), stride = cat("s", i), x = cat("x", i);
  switch (broadcast) {
    case TileBroadcast::full:
      return cat("    float ", x, "[8];\n    load(", in, " + r * ", stride, " + c, n, ", x, ");\n");
    case TileBroadcast::channel:
      return cat("    float ", x, "[8];\n    load(", in, " + c, n, ", x, ");\n");
    case TileBroadcast::image_channel:
      return cat("    float ", x, "[8];\n    load(", in, " + r / rows_per_image * ", stride, " + c, n, ", x, ");\n");
    case TileBroadcast::row:
      return cat("    const float ", x, " = to_float(", in, "[r * ", stride, "]);\n");
    case TileBroadcast::scalar:
      break;
  }
  return cat("    const float ", x, " = to_float(*", in, ");\n");
}

std::string head(const TileText& program, std::span<const TileInput> inputs, DType output) {
  std::vector<DType> used{output};
  for (const TileInput& in : inputs) used.push_back(in.dtype);
  for (const TileInstruction& t : program.instructions())
    if (t.op == Op::cast) used.push_back(parse_dtype(t.attrs.text("to")));
  for (DType dtype : used) (void)type_of(dtype);
  std::string includes, converts;
  for (const CudaType& type : kTypes) {
    if (!std::ranges::count(used, type.dtype)) continue;
    if (!type.header.empty()) includes += cat("#include <", type.header, ">\n");
    converts += type.convert;
  }
  return cat("// ", program.text(), "\n", includes, converts, kHelpers);
}

}  // namespace

std::string cuda_source(const TileText& program, std::span<const TileInput> inputs, DType output, std::string_view name) {
  std::string text = head(program, inputs, output) + cat("extern \"C\" __global__ void ", name, "(");
  for (size_t i = 0; i < inputs.size(); ++i) text += cat("const ", type_of(inputs[i].dtype).name, "* __restrict__ i", i, ", long long s", i, ", ");
  text += cat(type_of(output).name, "* __restrict__ out, long long out_stride, long long rows, long long channels, long long rows_per_image) {\n");
  text +=
      "  const long long vectors = (channels + 7) / 8, step = (long long)gridDim.x * blockDim.x;\n"
      "  for (long long v = (long long)blockIdx.x * blockDim.x + threadIdx.x; v < rows * vectors; v += step) {\n"
      "    const long long r = v / vectors, c = v % vectors * 8;\n"
      "    const int n = channels - c < 8 ? (int)(channels - c) : 8;\n";
  for (size_t i = 0; i < inputs.size(); ++i) text += load_input(i, inputs[i].broadcast);
  text += "    float y[8];\n    for (int k = 0; k < 8; ++k) {\n";
  const auto argument = [&](int arg) {
    if (arg >= 0) return cat("t", arg);
    return cat("x", ~arg, is_vector(inputs[static_cast<size_t>(~arg)].broadcast) ? "[k]" : "");
  };
  const auto& instructions = program.instructions();
  for (size_t i = 0; i < instructions.size(); ++i) {
    const TileInstruction& t = instructions[i];
    text += cat("      const float t", i, " = ", expression(t, argument(t.args[0]), t.args.size() > 1 ? argument(t.args[1]) : ""), ";\n");
  }
  return text + cat("      y[k] = t", instructions.size() - 1, ";\n    }\n    store(y, n, out + r * out_stride + c);\n  }\n}\n");
}

}  // namespace vivace
