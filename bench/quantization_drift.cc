// What quantisation does to pictures: PSNR, SSIM and MDSI of quantised runs against fp32 ones from the same seeds.
//   quantization_drift [MODEL] [STEPS] [PROMPTS]     MODEL: assets/emoji-xl by default; 30 steps; 20 prompts
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "vivace/vivace.h"

using namespace vivace;

namespace {

// Every so many of assets/emoji-xl/names.txt.
constexpr const char* kThings[] = {
    "grinning face", "smiling face with horns", "blue heart", "tooth",   "zebra",       "rooster", "sauropod", "cherry blossom", "lemon",  "potato",
    "meat on bone",  "chocolate bar",           "volcano",    "tractor", "alarm clock", "snowman", "kite",     "crown",          "laptop", "package"};

std::vector<Image> draw(const std::string& model, int steps, int prompts, const std::function<void(DiffusionPipeline&)>& change) {
  auto pipe = DiffusionPipeline::from_pretrained(model, {.compile = {.mode = CompileMode::default_}});
  change(pipe);
  std::vector<Image> images;
  for (int i = 0; i < prompts; ++i)
    images.push_back(pipe(kThings[i], {.num_inference_steps = steps, .seed = static_cast<uint64_t>(100 + i)}).images[0]);
  return images;
}

void use_int8_attention(DiffusionPipeline& pipe) {
  pipe.unet().compile({.mode = CompileMode::default_, .sdpa = {SDPBackend::int8, SDPBackend::automatic}});
}

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string model = argc > 1 ? argv[1] : "assets/emoji-xl";
  const int steps = argc > 2 ? std::atoi(argv[2]) : 30, prompts = std::clamp(argc > 3 ? std::atoi(argv[3]) : 20, 1, 20);
  const std::vector<Image> exact = draw(model, steps, prompts, [](DiffusionPipeline&) {});
  const struct {
    const char* name;
    std::function<void(DiffusionPipeline&)> change;
  } contestants[] = {
      {"int8-dynamic, measured", [](DiffusionPipeline& p) { apply_dynamic_quant(p.unet()); }},
      {"int8-dynamic, guide's filter", [](DiffusionPipeline& p) { apply_dynamic_quant(p.unet(), dynamic_quant_filter_fn); }},
      {"int8-dynamic, all", [](DiffusionPipeline& p) { apply_dynamic_quant(p.unet(), quantize_all); }},
      {"int8 attention", [](DiffusionPipeline& p) { use_int8_attention(p); }},
      {"int8-dynamic, all, attention", [](DiffusionPipeline& p) { apply_dynamic_quant(p.unet(), quantize_all), use_int8_attention(p); }},
      {"int8-weight-only, all", [](DiffusionPipeline& p) { quantize_weight_only(p.unet()); }},
      {"float8-weight-only, all", [](DiffusionPipeline& p) { quantize_weight_only(p.unet(), DType::float8_e4m3); }},
  };
  std::printf("%d prompts, %d steps\n%-30s %12s %12s %12s %12s\n", prompts, steps, "", "PSNR median", "PSNR worst", "SSIM median", "MDSI median");
  for (const auto& contestant : contestants) {
    const std::vector<Image> images = draw(model, steps, prompts, contestant.change);
    std::vector<double> p, s, m;
    for (size_t i = 0; i < images.size(); ++i) {
      p.push_back(psnr(exact[i], images[i]));
      s.push_back(ssim(exact[i], images[i]));
      m.push_back(mdsi(exact[i], images[i]));
    }
    std::printf("%-30s %12.2f %12.2f %12.4f %12.4f\n", contestant.name, median(p), *std::ranges::min_element(p), median(s), median(m));
  }
}
