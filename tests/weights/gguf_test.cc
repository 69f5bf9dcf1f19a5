// GGUF files and storage in blocks, against the gguf package (tools/golden/gguf_files.py).
#include "weights/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>

#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/weight_map.h"

namespace vivace {
namespace {

const std::filesystem::path kFlux = VIVACE_SOURCE_DIR "/tests/pipelines/data/gguf/flux.gguf";

TensorFileHeader parse(const std::string& file) { return parse_gguf(std::as_bytes(std::span(file.data(), file.size())), "x.gguf"); }
std::string refusal(const std::string& file) {
  return message_of<UserError>([&] { parse(file); });
}

// Writes a file's fields.
class Writer {
 public:
  explicit Writer(uint64_t tensors, uint64_t values = 0) { *this << "GGUF" << uint32_t{3} << tensors << values; }
  Writer& operator<<(const char* bytes) {
    text_ += bytes;
    return *this;
  }
  template <class T>
  Writer& operator<<(T number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  Writer& string(const std::string& text) {
    *this << uint64_t{text.size()};
    text_ += text;
    return *this;
  }
  // Its dims fastest first.
  Writer& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    string(name) << static_cast<uint32_t>(dims.size());
    for (const uint64_t size : dims) *this << size;
    return *this << type << offset;
  }
  std::string with_data(size_t bytes) const {
    std::string file = text_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + std::string(bytes, 'x');
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

TEST(BlockFormat, ValuesAreThoseOfTheGgufPackageBitForBit) {
  const WeightMap golden = WeightMap::open(VIVACE_TEST_DATA "/block_formats.safetensors");
  int formats = 0;
  for (const WeightInfo& blocks : golden.weights()) {
    if (!blocks.name.ends_with(".blocks")) continue;
    const std::string name = blocks.name.substr(0, blocks.name.size() - 7);
    const auto format = find_block_format(name);
    ASSERT_TRUE(format) << name;
    const Tensor want = golden.tensor(name + ".values");
    std::vector<float> values(static_cast<size_t>(want.numel()));
    widen_blocks(*format, {static_cast<const std::byte*>(blocks.data), blocks.bytes}, values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      const float expected = want.as<float>()[i];
      EXPECT_TRUE(std::isnan(expected) ? std::isnan(values[i]) : std::bit_cast<uint32_t>(values[i]) == std::bit_cast<uint32_t>(expected))
          << name << ' ' << i;
    }
    ++formats;
  }
  EXPECT_EQ(formats, 12);  // int8 is none of ggml's
  EXPECT_FALSE(find_block_format("q9_0"));
}

TEST(Gguf, AFileOfTheGgufPackageIsRead) {
  const auto file = TensorFile::open(kFlux);
  EXPECT_EQ(file->metadata().at("general.architecture"), "flux");
  int blocks = 0;
  for (const WeightInfo& tensor : file->tensors()) {
    EXPECT_TRUE(tensor.name != "img_in.weight" || tensor.shape.size() == 2);
    if (tensor.format) {
      EXPECT_EQ(tensor.dtype, DType::uint8);
      EXPECT_EQ(tensor.shape.back() % block_format_info(*tensor.format).bytes, 0);
      ++blocks;
    }
  }
  EXPECT_GT(blocks, 10);
}

TEST(Gguf, ShapesAndPlaces) {
  const std::string file = Writer(3).tensor("a", {64, 3}, 2, 0).tensor("b", {5}, 0, 128).tensor("c", {}, 30, 160).with_data(162);
  const TensorFileHeader header = parse(file);
  ASSERT_EQ(header.entries.size(), 3u);
  EXPECT_EQ(header.entries[0].shape, (Shape{3, 36}));
  EXPECT_EQ(header.entries[0].format, BlockFormat::q4_0);
  EXPECT_EQ(header.entries[1].shape, Shape{5});
  EXPECT_EQ(header.entries[1].begin, 128u);
  EXPECT_EQ(header.entries[2].dtype, DType::bfloat16);
  EXPECT_EQ(header.data_offset % 32, 0u);
  // ComfyUI-GGUF keeps the shape of what was flattened.
  Writer shaped(1, 1);
  shaped.string("comfy.gguf.orig_shape.a") << uint32_t{9} << uint32_t{5} << uint64_t{3} << int32_t{2} << int32_t{3} << int32_t{1};
  EXPECT_EQ(parse(shaped.tensor("a", {6}, 0, 0).with_data(24)).entries[0].shape, (Shape{2, 3, 1}));
}

TEST(Gguf, WhatIsWrongIsSaid) {
  const std::string bad = "x.gguf: not a valid GGUF file: ";
  EXPECT_EQ(refusal("GGUX"), bad + "it does not begin with \"GGUF\"");
  EXPECT_NE(refusal("GGUF").find("the version at byte 4 takes 4 bytes, but the file ends after 0; it may be truncated"), std::string::npos);
  EXPECT_EQ(refusal("GGUF" + std::string("\1\0\0\0", 4)), bad + "version 1: expected 2 or 3, little endian");
  EXPECT_NE(refusal(Writer(1).tensor("a", {4}, 0, 0).with_data(15)).find("tensor \"a\" ends at byte 16 of the data, but only 15 are there"),
            std::string::npos);
  EXPECT_EQ(refusal(Writer(1).tensor("a", {31}, 2, 0).with_data(99)), bad + "tensor \"a\": shape [31] has no whole blocks of 32 for q4_0");
  EXPECT_NE(refusal(Writer(1).tensor("a", {32}, 16, 0).with_data(99)).find("is of ggml's type 16, which is not supported: expected F32, F16"),
            std::string::npos);
  EXPECT_EQ(refusal(Writer(1).tensor("a", {1, 1, 1, 1, 1}, 0, 0).with_data(9)), bad + "tensor \"a\" has 5 dimensions: expected at most 4");
  EXPECT_EQ(refusal(Writer(1).tensor("a", {1ull << 62, 4}, 0, 0).with_data(9)), bad + "tensor \"a\": its shape overflows");
  EXPECT_EQ(refusal(Writer(1).tensor("a", {(1ull << 63) - 32, 0}, 8, 0).with_data(9)), bad + "tensor \"a\": its shape overflows");
  EXPECT_EQ(refusal(Writer(2).tensor("a", {4}, 0, 0).tensor("b", {4}, 0, 8).with_data(99)), bad + "tensor \"b\" overlaps the tensor before");
  EXPECT_EQ(refusal(Writer(2).tensor("a", {4}, 0, 0).tensor("a", {4}, 0, 32).with_data(99)), bad + "tensor \"a\" is there twice");
  EXPECT_NE(refusal(Writer(1ull << 60).with_data(0)).find("it may be truncated"), std::string::npos);
  Writer value(0, 1);
  value.string("k") << uint32_t{99};
  EXPECT_EQ(refusal(value.text()), bad + "the value of \"k\" has type 99, which there is none of");
  Writer list(0, 1);
  list.string("k") << uint32_t{9} << uint32_t{5} << (uint64_t{1} << 63);
  EXPECT_EQ(refusal(list.text()), bad + "the value of \"k\" has 9223372036854775808 elements");
}

// No change of a byte, and no cut, may do anything but give a file or one line of why not.
TEST(Gguf, DamagedFilesAreReadOrRefused) {
  const std::string whole = read_file(kFlux);
  const size_t header = parse(whole).data_offset;
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string file = whole;
    for (int change = 0; change < 1 + i % 3; ++change) file[random() % header] = static_cast<char>(random());
    if (i % 5 == 0) file.resize(random() % file.size());
    try {
      const TensorFileHeader parsed = parse(file);
      for (const auto& entry : parsed.entries) ASSERT_LE(parsed.data_offset + entry.end, file.size());
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace vivace
