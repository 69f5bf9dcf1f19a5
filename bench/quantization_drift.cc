// What narrower arithmetic does to pictures: PSNR, SSIM and MDSI of runs in bfloat16 and in 8 bits against fp32 ones from the same seeds.
//   quantization_drift [MODEL] [STEPS] [PROMPTS] [SIZE]     MODEL: assets/emoji-xl by default; 30 steps; 20 prompts; 128 pixels a side
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "vivace/vivace.h"

using namespace vivace;

namespace {

// Every so many of assets/emoji-xl/names.txt, which are those of emoji-flux too.
constexpr const char* kThings[] = {
    "grinning face", "smiling face with horns", "blue heart", "tooth",   "zebra",       "rooster", "sauropod", "cherry blossom", "lemon",  "potato",
    "meat on bone",  "chocolate bar",           "volcano",    "tractor", "alarm clock", "snowman", "kite",     "crown",          "laptop", "package"};

using Change = std::function<void(DiffusionPipeline&)>;

struct Runs {
  std::string model;
  int steps, prompts;
  int64_t size;

  std::vector<Image> draw(DType dtype, const Change& change) const {
    auto pipe = DiffusionPipeline::from_pretrained(model, {.dtype = dtype, .compile = {.mode = CompileMode::default_}});
    change(pipe);
    CallOptions call{.height = size, .width = size, .num_inference_steps = steps};
    if (pipe.class_name().starts_with("Flux")) call.max_sequence_length = 64;  // what emoji-flux was trained with
    std::vector<Image> images;
    for (int i = 0; i < prompts; ++i) {
      call.seed = static_cast<uint64_t>(100 + i);
      images.push_back(pipe(kThings[i], call).images[0]);
    }
    return images;
  }
};

Model& denoiser(DiffusionPipeline& pipe) {
  const std::vector<std::string> parts = pipe.models();
  return pipe.model(std::ranges::count(parts, "unet") ? "unet" : "transformer");
}

void use_int8_attention(DiffusionPipeline& pipe) {
  denoiser(pipe).compile({.mode = CompileMode::default_, .sdpa = {SDPBackend::int8, SDPBackend::automatic}});
}

void quantize_text_encoders(DiffusionPipeline& pipe) {
  for (const char* part : {"text_encoder", "text_encoder_2"})
    if (std::ranges::count(pipe.models(), part)) apply_dynamic_quant(pipe.model(part), quantize_all);
}

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int at, int otherwise) { return argc > at ? std::atoi(argv[at]) : otherwise; };
  const Runs runs{
      .model = argc > 1 ? argv[1] : "assets/emoji-xl", .steps = number(2, 30), .prompts = std::clamp(number(3, 20), 1, 20), .size = number(4, 128)};
  const auto quantized = [](const QuantizeFilter& filter, Quantization kind = Quantization::int8_dynamic) -> Change {
    return [filter, kind](DiffusionPipeline& p) { apply_dynamic_quant(denoiser(p), filter, kind); };
  };
  const struct {
    const char* name;
    DType dtype;
    Change change;
  } contestants[] = {
      {"bf16", bfloat16, [](DiffusionPipeline&) {}},
      {"int8-dynamic, measured", float32, [](DiffusionPipeline& p) { apply_dynamic_quant(denoiser(p)); }},
      {"int8-dynamic, guide's filter", float32, quantized(dynamic_quant_filter_fn)},
      {"int8-dynamic, blocks", float32, quantized(transformer_quant_filter_fn)},
      {"int8-dynamic, all", float32, quantized(quantize_all)},
      {"int8-dynamic-rotated, blocks", float32, quantized(transformer_quant_filter_fn, Quantization::int8_dynamic_rotated)},
      {"int8-dynamic-rotated, all", float32, quantized(quantize_all, Quantization::int8_dynamic_rotated)},
      {"bf16, int8-dynamic, blocks", bfloat16, quantized(transformer_quant_filter_fn)},
      {"bf16, int8-dynamic, all", bfloat16, quantized(quantize_all)},
      {"float8-dynamic, blocks", float32, quantized(transformer_quant_filter_fn, Quantization::float8_dynamic)},
      {"float8-dynamic, all", float32, quantized(quantize_all, Quantization::float8_dynamic)},
      {"bf16, float8-dynamic, all", bfloat16, quantized(quantize_all, Quantization::float8_dynamic)},
      {"int8-dynamic, text encoders", float32, quantize_text_encoders},
      {"int8 attention", float32, use_int8_attention},
      {"int8-dynamic, all, attention", float32, [](DiffusionPipeline& p) { apply_dynamic_quant(denoiser(p), quantize_all), use_int8_attention(p); }},
      {"int8-dynamic-rotated, all, attention", float32,
       [](DiffusionPipeline& p) { apply_dynamic_quant(denoiser(p), quantize_all, Quantization::int8_dynamic_rotated), use_int8_attention(p); }},
      {"int8-weight-only, all", float32, [](DiffusionPipeline& p) { quantize_weight_only(denoiser(p)); }},
      {"float8-weight-only, all", float32, [](DiffusionPipeline& p) { quantize_weight_only(denoiser(p), DType::float8_e4m3); }},
  };
  const std::vector<Image> exact = runs.draw(float32, [](DiffusionPipeline&) {});
  std::printf("%d prompts, %d steps\n%-38s %12s %12s %12s %12s\n", runs.prompts, runs.steps, "", "PSNR median", "PSNR worst", "SSIM median",
              "MDSI median");
  for (const auto& contestant : contestants) {
    const std::vector<Image> images = runs.draw(contestant.dtype, contestant.change);
    std::vector<double> p, s, m;
    for (size_t i = 0; i < images.size(); ++i) {
      p.push_back(psnr(exact[i], images[i]));
      s.push_back(ssim(exact[i], images[i]));
      m.push_back(mdsi(exact[i], images[i]));
    }
    std::printf("%-38s %12.2f %12.2f %12.4f %12.4f\n", contestant.name, median(p), *std::ranges::min_element(p), median(s), median(m));
  }
}
