// Fields of config.json that golden cases do not reach: sizes, and values that are refused by name.
#include "models/autoencoder_kl/config.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/log.h"
#include "models/clip_text/config.h"
#include "models/t5_encoder/config.h"
#include "models/unet2d_condition/config.h"
#include "vivace/error.h"

namespace vivace {
namespace {

UNetConfig unet(const std::string& fields) { return read_unet_config(Config::parse("{" + fields + "}", "unet/config.json")); }

template <class Read>
void expect_refused(const Read& read, std::string_view field) {
  try {
    read();
    ADD_FAILURE() << field << " was accepted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(cat('"', field, '"')), std::string::npos) << error.what();
  }
}

TEST(UNetConfig, SampleSize) {
  EXPECT_EQ(unet("").sample_height, 64);
  const UNetConfig wide = unet(R"("sample_size": [32, 96])");
  EXPECT_EQ(wide.sample_height, 32);
  EXPECT_EQ(wide.sample_width, 96);
  EXPECT_TRUE(unet(R"("sample_size": 32, "_diffusers_version": "0.6.0.dev0")").outdated_sample_size);
  EXPECT_FALSE(unet(R"("sample_size": 32, "_diffusers_version": "0.19.0")").outdated_sample_size);
  EXPECT_FALSE(unet(R"("sample_size": [32, 32], "_diffusers_version": "0.6.0")").outdated_sample_size);
  EXPECT_FALSE(unet(R"("sample_size": 64, "_diffusers_version": "0.6.0")").outdated_sample_size);
  for (const char* size : {"[]", "[64]", "0", "[64, -1]"}) expect_refused([&] { unet(cat("\"sample_size\": ", size)); }, "sample_size");
}

TEST(UNetConfig, HeadsMatterWhereThereIsAttention) {
  const std::string blocks =
      R"("down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "norm_num_groups": 2,)";
  EXPECT_NO_THROW(unet(blocks + R"("block_out_channels": [4, 8])")) << "8 heads, of which the first level has none";
  expect_refused([&] { unet(blocks + R"("block_out_channels": [8, 12])"); }, "attention_head_dim");
}

TEST(UNetConfig, RefusesByName) {
  expect_refused([] { unet(R"("layers_per_block": 0)"); }, "layers_per_block");
  expect_refused([] { unet(R"("layers_per_block": 1000000000)"); }, "layers_per_block");
  for (const char* layers : {"-1", "1000000000", "[1, 1, 1, 1000000000]", "[1, [1, 1000000000], 1, 1]"})
    expect_refused([&] { unet(cat("\"transformer_layers_per_block\": ", layers)); }, "transformer_layers_per_block");
  expect_refused([] { unet(R"("conv_in_kernel": 4)"); }, "conv_in_kernel");
  expect_refused([] { unet(R"("class_embed_type": "timestep")"); }, "class_embed_type");
}

TEST(AutoencoderKLConfig, SampleSizeMayBeAList) {
  EXPECT_NO_THROW(read_autoencoder_kl_config(Config::parse(R"({"sample_size": [512, 768]})", "vae/config.json")));
}

TEST(AutoencoderKLConfig, RefusesByName) {
  for (const char* layers : {"-1", "1000000000"})
    expect_refused([&] { read_autoencoder_kl_config(Config::parse(cat("{\"layers_per_block\": ", layers, "}"), "vae/config.json")); },
                   "layers_per_block");
}

TEST(T5Config, RefusesByName) {
  for (const char* layers : {"0", "1000000000"})
    expect_refused([&] { read_t5_encoder_config(Config::parse(cat("{\"num_layers\": ", layers, "}"), "text_encoder_2/config.json")); }, "num_layers");
}

TEST(CLIPTextConfig, RefusesByName) {
  const auto refused = [](const char* field, const char* value) {
    expect_refused([&] { read_clip_text_config(Config::parse(cat("{\"", field, "\": ", value, "}"), "text_encoder/config.json")); }, field);
  };
  refused("use_attention_mask", "true");
  refused("num_hidden_layers", "1000000000");
  refused("hidden_size", "-1");
  refused("max_position_embeddings", "0");
}

}  // namespace
}  // namespace vivace
