// What files say of an adapter's scale: alpha / rank.
#include "weights/lora.h"

#include <gtest/gtest.h>

#include <fstream>

#include "temp_folder.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

// Of a file of that name with one factor of rank 4, with this adapter_config.json beside it: a module's scale.
double scale_of(const char* name, const char* config, const std::string& module) {
  const TempFolder temp;
  const std::vector<TensorSpec> specs{{"base_model.model.to_q.lora_A.weight", DType::float32, {4, 2}}};
  write_safetensors(temp / name, specs, {}, [](size_t) { return Tensor::zeros({4, 2}); });
  std::ofstream(temp / "adapter_config.json") << config;
  return LoraFile::open(temp / name)->scale("unet", module, 4, nullptr);
}

// Scalings that peft 0.21 gives the layers: layer.scaling["default"].
TEST(LoraFile, PeftsConfigBesideItsFile) {
  constexpr const char* kFile = "adapter_model.safetensors";
  EXPECT_EQ(scale_of(kFile, R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8})", "to_q"), 2);
  EXPECT_EQ(scale_of(kFile, R"({"r": 4, "lora_alpha": 8, "use_rslora": true})", "to_q"), 4);
  EXPECT_EQ(scale_of(kFile, R"({"r": 4, "lora_alpha": 8, "alpha_pattern": {"attn.to_q": 2, "to_.": 12}})", "blocks.0.attn.to_q"), 0.5);
  EXPECT_EQ(scale_of(kFile, R"({"r": 4, "lora_alpha": 8, "alpha_pattern": {"attn.to_q": 2, "to_.": 12}})", "blocks.0.attn.to_k"), 3);
  EXPECT_EQ(scale_of(kFile, R"({"peft_type": "LOHA", "r": 4, "alpha": 2})", "to_q"), 0.5);
  EXPECT_EQ(scale_of("another.safetensors", R"({"r": 4, "lora_alpha": 8})", "to_q"), 1);
}

}  // namespace
}  // namespace vivace
