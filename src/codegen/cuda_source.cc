#include "codegen/cuda_source.h"

#include <charconv>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// As numbers.cuh of the CUDA kernels calls them.
std::string_view type_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float";
    case DType::bfloat16:
      return "bf16";
    case DType::float16:
      return "f16";
    default:
      throw InternalError(cat("no CUDA source for tile programs of ", dtype_name(dtype)));
  }
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
      return cat("rounded<", type_of(parse_dtype(t.attrs.text("to"))), ">(", a, ")");
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

}  // namespace

std::string cuda_source(const TileText& program, std::span<const TileInput> inputs, DType output, std::string_view name) {
  std::string text =
      cat("// ", program.text(), "\n#include \"numbers.cuh\"\nusing namespace vivace::cuda;\nextern \"C\" __global__ void ", name, "(");
  for (size_t i = 0; i < inputs.size(); ++i) text += cat("const ", type_of(inputs[i].dtype), "* __restrict__ i", i, ", long long s", i, ", ");
  text += cat(type_of(output), "* __restrict__ out, long long out_stride, long long rows, long long channels, long long rows_per_image) {\n");
  text +=
      "  const long long vectors = (channels + 7) / 8, step = (long long)gridDim.x * blockDim.x;\n"
      "  for (long long v = (long long)blockIdx.x * blockDim.x + threadIdx.x; v < rows * vectors; v += step) {\n"
      "    const long long r = v / vectors, c = v % vectors * 8;\n"
      "    const int n = channels - c < 8 ? (int)(channels - c) : 8;\n";
  for (size_t i = 0; i < inputs.size(); ++i) text += load_input(i, inputs[i].broadcast);
  text += "    float y[8];\n    for (int k = 0; k < 8; ++k) {\n";
  const auto argument = [&](int arg) {
    if (arg >= 0) return cat("t", arg);
    const int input = ~arg;
    return cat("x", input, is_vector(inputs[static_cast<size_t>(input)].broadcast) ? "[k]" : "");
  };
  const auto& instructions = program.instructions();
  for (size_t i = 0; i < instructions.size(); ++i) {
    const TileInstruction& t = instructions[i];
    text += cat("      const float t", i, " = ", expression(t, argument(t.args[0]), t.args.size() > 1 ? argument(t.args[1]) : ""), ";\n");
  }
  return text + cat("      y[k] = t", instructions.size() - 1, ";\n    }\n    store(y, n, out + r * out_stride + c);\n  }\n}\n");
}

}  // namespace vivace
