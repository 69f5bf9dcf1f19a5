// Damaged checkpoints: exit code 1, one line that names file, field or tensor, no picture.
#include <cstring>
#include <limits>

#include "program.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUNet = "unet/diffusion_pytorch_model.safetensors";
constexpr const char* kVae = "vae/diffusion_pytorch_model.safetensors";

// A checkpoint to damage.
class BadFiles : public testing::Test {
 protected:
  TempFolder folder_;
  fs::path model_ = copy_tiny(folder_);

  void replace(const std::string& file, const std::string& from, const std::string& to) {
    std::string text = read_text(model_ / file);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << file << " lacks " << from;
    text.replace(at, from.size(), to);
    write_text(model_ / file, text);
  }

  // The JSON header of a safetensors file.
  std::string header(const std::string& file) {
    const std::string bytes = read_text(model_ / file);
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    return bytes.substr(8, size);
  }
  void set_header(const std::string& file, const std::string& json) {
    const std::string bytes = read_text(model_ / file);
    const uint64_t size = json.size();
    std::string changed(reinterpret_cast<const char*>(&size), 8);
    write_text(model_ / file, changed + json + bytes.substr(8 + header(file).size()));
  }
  // Overwrites a tensor's first element.
  void poke(const std::string& file, const std::string& tensor, float value) {
    std::string bytes = read_text(model_ / file);
    const TensorFileHeader parsed = parse_safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())), file);
    for (const auto& entry : parsed.entries)
      if (entry.name == tensor) std::memcpy(bytes.data() + parsed.data_offset + entry.begin, &value, sizeof value);
    write_text(model_ / file, bytes);
  }
};

TEST_F(BadFiles, PartsOfOtherModels) {
  const std::string transformer = VIVACE_SOURCE_DIR "/assets/emoji-flux/transformer";
  expect_no_picture(model_, 1, {transformer + " holds a FluxTransformer2DModel, not a UNet2DConditionModel"}, {"--unet", transformer});
}

TEST_F(BadFiles, ModelFolder) {
  expect_no_picture(folder_ / "nowhere", 1, {"nowhere", "model_index.json"});
  expect_no_picture(model_ / "model_index.json", 1, {"model_index.json"});
  expect_no_picture("owner/name", 1, {"no model at owner/name", "hf download"});
  expect_no_picture(VIVACE_SOURCE_DIR "/README.md", 1, {"README.md: neither a safetensors nor a GGUF file"});
  expect_no_picture(model_ / "unet", 1, {"unet", "it holds one component of a checkpoint"});
  expect_no_picture(model_, 1, {"no ControlNet at " + model_.string()},
                    {"--controlnet", model_.string(), "--control-image", VIVACE_SOURCE_DIR "/tests/image/data/rgb_420.jpg"});
  fs::create_directories(folder_ / "models--x" / "snapshots" / "5f3a");
  expect_no_picture(folder_ / "models--x", 1, {"in the cache of huggingface_hub: name ", "models--x/snapshots/5f3a"});
  fs::create_directories(folder_ / "downloads");
  write_text(folder_ / "downloads" / "sdxl.safetensors", "");
  expect_no_picture(folder_ / "downloads", 1, {"it holds a file of weights: name that, ", "downloads/sdxl.safetensors"});
  fs::remove(model_ / "model_index.json");
  expect_no_picture(model_, 1, {"no model at ", "expected a checkpoint in Diffusers layout"});
  expect_refused(vivace({"info", (folder_ / "nowhere").string()}), 1, {"nowhere"});
}

TEST_F(BadFiles, MissingComponents) {
  for (const char* name : {"unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"}) {
    fs::rename(model_ / name, folder_ / "aside");
    expect_no_picture(model_, 1, {name});
    fs::rename(folder_ / "aside", model_ / name);
  }
  for (const char* file : {"unet/config.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt"}) {
    fs::rename(model_ / file, folder_ / "aside");
    expect_no_picture(model_, 1, {file});
    fs::rename(folder_ / "aside", model_ / file);
  }
  fs::remove(model_ / kUNet);
  expect_no_picture(model_, 1, {"unet", "safetensors"});
}

TEST_F(BadFiles, UnreadableFile) {
  // Root reads everything, so a folder stands in the file's place.
  fs::remove(model_ / kUNet);
  fs::create_directory(model_ / kUNet);
  expect_no_picture(model_, 1, {kUNet});
}

TEST_F(BadFiles, JsonThatDoesNotParse) {
  for (const char* file : {"model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
                           "tokenizer/vocab.json"}) {
    const std::string before = read_text(model_ / file);
    for (const std::string& damaged : {before.substr(0, before.size() / 2), std::string(), std::string("[1, 2]"), std::string(100000, '[')}) {
      write_text(model_ / file, damaged);
      expect_no_picture(model_, 1, {file});
    }
    write_text(model_ / file, before);
  }
}

TEST_F(BadFiles, FieldsOfAWrongTypeOrValue) {
  replace("unet/config.json", "\"layers_per_block\": 1", "\"layers_per_block\": \"one\"");
  expect_no_picture(model_, 1, {"unet/config.json", "layers_per_block"});
  replace("unet/config.json", "\"layers_per_block\": \"one\"", "\"layers_per_block\": 1");
  replace("unet/config.json", "\"act_fn\": \"silu\"", "\"act_fn\": \"tanh\"");
  expect_no_picture(model_, 1, {"unet/config.json", "act_fn", "tanh"});
  replace("unet/config.json", "\"act_fn\": \"tanh\"", "\"act_fn\": \"silu\"");
  replace("scheduler/scheduler_config.json", "\"beta_end\": 0.012", "\"beta_end\": \"high\"");
  expect_no_picture(model_, 1, {"EulerDiscreteScheduler", "beta_end"});
  replace("scheduler/scheduler_config.json", "\"beta_end\": \"high\"", "\"beta_end\": 0.012");
  replace("model_index.json", "\"StableDiffusionXLPipeline\"", "\"SomeOtherPipeline\"");
  expect_no_picture(model_, 1, {"model_index.json", "SomeOtherPipeline"});
}

// Links to the parts of emoji-flux, but for `own`, which is a copy to be damaged.
void link_flux(const TempFolder& folder, const std::string& own) {
  const fs::path flux = VIVACE_SOURCE_DIR "/assets/emoji-flux";
  for (const auto& part : fs::directory_iterator(flux))
    if (part.path().filename() != own) fs::create_symlink(part.path(), folder / part.path().filename().string());
  fs::copy(flux / own, folder / own, fs::copy_options::recursive);
}

// A line through two points of one place.
TEST(BadFluxFiles, ShiftOfTheSchedule) {
  const TempFolder folder;
  link_flux(folder, "scheduler");
  write_text(folder / "scheduler/scheduler_config.json",
             R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true, "base_image_seq_len": 4096})");
  expect_no_picture(folder.path(), 1, {"scheduler", "max_image_seq_len", "4096"});
}

TEST(BadFluxFiles, AT5WithoutItsTokenizer) {
  const TempFolder folder;
  link_flux(folder, "tokenizer_2");
  for (const char* file : {"spiece.model", "tokenizer.json"}) fs::remove(folder / "tokenizer_2" / file);
  expect_no_picture(folder.path(), 1, {"tokenizer_2", "expected spiece.model or tokenizer.json"});
  fs::remove_all(folder / "tokenizer_2");
  expect_no_picture(folder.path(), 1, {"tokenizer_2"});
}

// Whose ids mean nothing to the text encoder.
TEST(BadFluxFiles, ATokenizerOfAnotherModel) {
  const fs::path flux = VIVACE_SOURCE_DIR "/assets/emoji-flux", others = VIVACE_SOURCE_DIR "/assets/tokenizers";
  const auto refused = [&](const std::string& part, const std::function<void(const fs::path& folder)>& change,
                           const std::vector<std::string>& names) {
    const TempFolder folder;
    link_flux(folder, part);
    change(folder / part);
    expect_no_picture(folder.path(), 1, names);
  };
  const auto put = [](const fs::path& from) {
    return [from](const fs::path& folder) {
      fs::remove_all(folder);
      fs::copy(from, folder, fs::copy_options::recursive);
    };
  };
  const auto say = [](const char* file, const std::string& from, const std::string& to) {
    return [=](const fs::path& folder) {
      std::string text = read_text(folder / file);
      ASSERT_NE(text.find(from), std::string::npos);
      write_text(folder / file, text.replace(text.find(from), from.size(), to));
    };
  };
  const std::string one_model = "expected the tokenizer and the text encoder of one model";
  refused("tokenizer_2", put(flux / "tokenizer"), {"tokenizer_2/tokenizer.json", "BPE", "expected the unigram model of a T5Tokenizer"});
  refused("tokenizer_2", put(others / "t5"), {"tokenizer_2 has 32100 tokens", "text_encoder_2 a vocab_size of 1600", one_model});
  refused("tokenizer_2", say("tokenizer_config.json", "\"eos_token\": \"</s>\"", "\"eos_token\": \"<unk>\""),
          {"tokenizer_2 has the eos token 2", "text_encoder_2 expects 1 (eos_token_id)", one_model});
  refused("tokenizer_2", say("tokenizer_config.json", "\"pad_token\": \"<pad>\"", "\"pad_token\": \"</s>\""),
          {"tokenizer_2 has the padding token 1", "text_encoder_2 expects 0 (pad_token_id)", one_model});
  refused("tokenizer", put(flux / "tokenizer_2"), {"tokenizer/tokenizer.json", "BPE"});
  refused("tokenizer", put(others / "clip"), {"tokenizer has 49408 tokens", "text_encoder a vocab_size of 1536", one_model});
  refused("text_encoder", say("config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 1534"),
          {"tokenizer has the eos token 1535", "text_encoder expects 1534 (eos_token_id)", one_model});
}

TEST(BadFluxFiles, AnIndexOfClassesThatNobodyKnows) {
  const TempFolder folder;
  link_flux(folder, "model_index.json");
  const std::string index = read_text(folder / "model_index.json");
  for (const char* name :
       {"T5EncoderModel", "T5TokenizerFast", "FluxTransformer2DModel", "AutoencoderKL", "FlowMatchEulerDiscreteScheduler", "FluxPipeline"}) {
    std::string changed = index;
    changed.replace(changed.find(name), std::strlen(name), "SomethingElse");
    write_text(folder / "model_index.json", changed);
    expect_no_picture(folder.path(), 1, {"SomethingElse"});
  }
}

TEST(BadFluxUse, SizesAndPrompts) {
  const fs::path flux = VIVACE_SOURCE_DIR "/assets/emoji-flux";
  for (const char* length : {"0", "-1", "513"})
    expect_no_picture(flux, 2, {"max_sequence_length", length, "1 to 512"}, {"--max-sequence-length", length});
  expect_no_picture(flux, 2, {"height"}, {"--height", "15", "--width", "32"});
  expect_no_picture(flux, 2, {"--true-cfg-scale", "nan"}, {"--true-cfg-scale", "nan"});
  expect_no_picture(flux, 2, {"FluxPipeline", "max_area"}, {"--max-area", "4096"});
  const TempFolder folder;
  const std::string path = (folder / "x.npy").string();
  // Each is told once, although plans are looked at before the call.
  const Finished done =
      vivace({"generate", "a very, very, very red apple", "--model", flux.string(), "--height", "47", "--width", "35", "--num-inference-steps", "1",
              "--max-sequence-length", "8", "--quantize", "int8-weight-only", "--threads", "1", "-o", path});
  EXPECT_EQ(done.code, 0) << done.err;
  const std::string rounded = "a picture of 47 x 35 is made 32 x 32: height and width are multiples of 16";
  EXPECT_NE(done.err.find(rounded), std::string::npos) << done.err;
  EXPECT_EQ(done.err.find(rounded), done.err.rfind(rounded)) << done.err;
  EXPECT_NE(done.err.find("the prompt is longer than the 8 tokens for text_encoder_2 (T5EncoderModel); this was cut: \"apple\""), std::string::npos)
      << done.err;
}

// Pictures in that are none, end early, or claim to be larger than any.
TEST(BadFluxUse, Pictures) {
  const TempFolder folder;
  const fs::path flux = VIVACE_SOURCE_DIR "/assets/emoji-flux", images = VIVACE_SOURCE_DIR "/tests/image/data";
  const std::string bad = (folder / "bad").string();
  const auto refused = [&](const std::string& bytes, const std::vector<std::string>& names) {
    write_text(bad, bytes);
    expect_no_picture(flux, 1, names, {"--image", bad, "--height", "32", "--width", "32"});
  };
  expect_no_picture(flux, 1, {"nowhere.png"}, {"--image", (folder / "nowhere.png").string()});
  refused("", {bad, "the file is empty"});
  refused("GIF89a", {bad, "not a PNG or JPEG picture"});
  std::string jpeg = read_text(images / "rgb_420.jpg");
  const std::string png = read_text(VIVACE_SOURCE_DIR "/tests/transformer_pipelines/data/square.png");
  refused(jpeg.substr(0, 100), {bad});
  refused(png.substr(0, png.size() / 2), {bad});
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");  // height and width
  refused(jpeg, {bad, "65500 x 65500 pixels", "at most 268435456"});
}

TEST_F(BadFiles, TruncatedSafetensors) {
  const std::string bytes = read_text(model_ / kUNet);
  for (size_t size : {bytes.size() - 1, bytes.size() / 2, size_t{20}, size_t{8}, size_t{3}, size_t{0}}) {
    write_text(model_ / kUNet, bytes.substr(0, size));
    expect_no_picture(model_, 1, {kUNet});
  }
}

TEST_F(BadFiles, OversizedHeader) {
  std::string bytes = read_text(model_ / kVae);
  for (uint64_t size : {uint64_t{1} << 40, ~uint64_t{0}, uint64_t{bytes.size()}, uint64_t{200} << 20}) {
    std::memcpy(bytes.data(), &size, 8);
    write_text(model_ / kVae, bytes);
    expect_no_picture(model_, 1, {kVae, "header"});
  }
}

TEST_F(BadFiles, OverlappingOffsets) {
  std::string json = header(kUNet);
  const size_t first = json.find("\"data_offsets\":["), second = json.find("\"data_offsets\":[", first + 1);
  ASSERT_NE(second, std::string::npos);
  const auto range = [&](size_t at) { return json.substr(at, json.find(']', at) - at); };
  json.replace(second, range(second).size(), range(first));
  set_header(kUNet, json);
  expect_no_picture(model_, 1, {kUNet});
}

TEST_F(BadFiles, WrongDtype) {
  const std::string json = header(kUNet);
  for (const char* dtype : {"F99", "BOOL"}) {
    std::string changed = json;
    changed.replace(changed.find("\"F32\""), 5, std::string("\"") + dtype + "\"");
    set_header(kUNet, changed);
    expect_no_picture(model_, 1, {"unet"});
  }
}

TEST_F(BadFiles, MissingExtraAndMisshapenTensorsAreAllNamed) {
  std::string json = header(kUNet);
  const auto rename = [&](const std::string& from, const std::string& to) {
    json.replace(json.find('"' + from + '"'), from.size() + 2, '"' + to + '"');
  };
  rename("conv_in.bias", "conv_in.bogus");
  rename("conv_out.bias", "conv_out.bogus");
  set_header(kUNet, json);
  expect_no_picture(model_, 1, {"unet", "conv_in.bias", "conv_in.bogus", "conv_out.bias", "conv_out.bogus"});
}

TEST_F(BadFiles, NamesThatWouldSteerTheTerminal) {
  std::string json = header(kUNet);
  json.replace(json.find("\"conv_in.bias\""), 14, "\"conv_in\\u001b[2J\"");
  set_header(kUNet, json);
  expect_no_picture(model_, 1, {"unet", "conv_in.bias", "conv_in [2J"});
}

TEST_F(BadFiles, NaNWeights) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  poke(kUNet, "conv_in.weight", nan);
  expect_no_picture(model_, 1, {"unet", "conv_in.weight"});
  for (const char* dtype : {"bf16", "fp16"}) expect_no_picture(model_, 1, {"unet", "conv_in.weight"}, {"--dtype", dtype});
  poke(kUNet, "conv_in.weight", 0);
  poke(kVae, "decoder.conv_out.weight", std::numeric_limits<float>::infinity());
  expect_no_picture(model_, 1, {"vae"});
  poke(kVae, "decoder.conv_out.weight", 0);
  poke("text_encoder_2/model.safetensors", "text_projection.weight", nan);
  expect_no_picture(model_, 1, {"NaN"});
}

TEST_F(BadFiles, VocabularyWithoutSpecialTokens) {
  // The other files could name it, and its id.
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) fs::remove(model_ / "tokenizer" / file);
  replace("tokenizer/vocab.json", "<|startoftext|>", "<|beginoftext|>");
  expect_no_picture(model_, 1, {"tokenizer/vocab.json", "<|startoftext|>"});
}

}  // namespace
}  // namespace vivace
