#include "weights/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  return file + header + std::string(data_bytes, '\1');
}

TensorFileHeader parse_file(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file.data(), file.size())), "unet.safetensors");
}

std::string error(const std::string& file) {
  const std::string message = message_of<UserError>([&] { parse_file(file); });
  EXPECT_TRUE(message.starts_with("unet.safetensors: not a valid safetensors file: ")) << message;
  return message.substr(std::min(message.size(), std::strlen("unet.safetensors: not a valid safetensors file: ")));
}

std::string header_error(const std::string& header, size_t data_bytes = 0) { return error(file_with(header, data_bytes)); }

// A header with one F32 tensor whose fields are replaced.
std::string tensor_error(const std::string& fields, size_t data_bytes = 16) {
  const std::string message = header_error("{\"conv.weight\":{" + fields + "}}", data_bytes);
  EXPECT_TRUE(message.starts_with("tensor \"conv.weight\": ")) << message;
  return message.substr(std::min(message.size(), std::strlen("tensor \"conv.weight\": ")));
}

const char* const kGood = R"("dtype":"F32","shape":[2,2],"data_offsets":[0,16])";

TEST(Safetensors, ParsesAHeader) {
  const auto header =
      parse_file(file_with(R"({"__metadata__":{"format":"pt"},"b":{"data_offsets":[16,20],"shape":[2],"dtype":"F16"},)"
                           R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"s":{"dtype":"BF16","shape":[],"data_offsets":[20,22]},)"
                           R"("none":{"dtype":"I64","shape":[3,0],"data_offsets":[22,22]}}   )",
                           22));
  ASSERT_EQ(header.entries.size(), 4u);
  EXPECT_EQ(header.entries[0].name, "a") << "sorted by their place";
  EXPECT_EQ(header.entries[0].shape, (Shape{2, 2}));
  EXPECT_EQ(header.entries[1].dtype, float16);
  EXPECT_EQ(header.entries[2].shape, Shape{});
  EXPECT_EQ(header.entries[3].end, 22u);
  EXPECT_EQ(header.metadata, (Metadata{{"format", "pt"}}));
  EXPECT_EQ(parse_file(file_with("{}", 0)).entries.size(), 0u);
  EXPECT_EQ(parse_file(file_with("{\"__metadata__\":null}", 0)).metadata.size(), 0u);
  EXPECT_EQ(parse_file(file_with(std::string("{\"w\":{\"note\":[1,{\"shape\":[[]]}],\"x\":null,") + kGood + "}}", 16)).entries[0].shape,
            (Shape{2, 2}))
      << "fields the format does not know are passed over";
}

TEST(Safetensors, HeaderLength) {
  EXPECT_EQ(error("1234567"), "it has 7 bytes, too few for a header; it may be truncated: copy or download it again");
  EXPECT_EQ(error(""), "it has 0 bytes, too few for a header; it may be truncated: copy or download it again");
  std::string file = file_with("{}", 0);
  file[0] = 3;
  EXPECT_EQ(error(file), "its header takes 3 bytes, but the file has only 10; it may be truncated: copy or download it again");
  file = std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  EXPECT_EQ(error(file), "its header would take 18446744073709551615 bytes: at most 100000000 are allowed");
  file = std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10);  // 100,000,001
  EXPECT_EQ(error(file), "its header would take 100000001 bytes: at most 100000000 are allowed");
  EXPECT_EQ(error(file_with("", 0)), "the header does not begin with \"{\"");
  EXPECT_EQ(error(file_with("\xef\xbb\xbf{}", 0)), "the header does not begin with \"{\"");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a";
  EXPECT_NE(message_of<UserError>([&] { parse_file(pointer); }).find("Git LFS pointer"), std::string::npos);
}

TEST(Safetensors, HeaderThatIsNoJson) {
  for (const char* bad : {"{", "{\"a\"", "{]", "{} x", "{}{}", "{\"\xff\":{}}", "{'a':1}", "{\"a\\\":{}}"})
    EXPECT_TRUE(header_error(bad).starts_with("the header is not valid JSON at byte ")) << bad << ": " << header_error(bad);
  EXPECT_TRUE(header_error(std::string("{\"a\":") + std::string(100000, '{')).starts_with("the header is not valid JSON"));
  EXPECT_NE(header_error("{\"a\":{\"x\":" + std::string(1000000, '[')).find("not valid JSON"), std::string::npos);
}

TEST(Safetensors, HeaderOfTheWrongForm) {
  EXPECT_EQ(header_error("{\"a\":1}"), "\"a\": expected an object, got a number");
  EXPECT_EQ(header_error("{\"a\":[]}"), "\"a\": expected an object, got a list");
  EXPECT_EQ(header_error("{\"a\":null}"), "\"a\": expected an object, got null");
  EXPECT_EQ(header_error("{\"__metadata__\":{\"k\":1}}"), "the metadata \"k\": expected a string, got a number");
  EXPECT_EQ(header_error("{\"__metadata__\":{\"k\":{}}}"), "the metadata \"k\": expected a string, got an object");
  EXPECT_EQ(header_error("{\"__metadata__\":\"x\"}"), "\"__metadata__\": expected an object, got a string");
  EXPECT_EQ(header_error("{\"__metadata__\":{},\"__metadata__\":{}}"), "\"__metadata__\" is there twice");
  EXPECT_EQ(header_error("{\"__metadata__\":{\"k\":\"\",\"k\":\"\"}}"), "the metadata \"k\" is there twice");
  EXPECT_EQ(tensor_error(""), "\"dtype\" is missing");
  EXPECT_EQ(tensor_error(R"("dtype":"F32","data_offsets":[0,16])"), "\"shape\" is missing");
  EXPECT_EQ(tensor_error(R"("dtype":"F32","shape":[4])"), "\"data_offsets\" is missing");
  EXPECT_EQ(tensor_error(std::string(kGood) + R"(,"shape":[4])"), "\"shape\" is there twice");
  EXPECT_EQ(tensor_error(std::string(kGood) + R"(,"dtype":"F32")"), "\"dtype\" is there twice");
}

TEST(Safetensors, DTypes) {
  EXPECT_TRUE(
      tensor_error(R"("dtype":"F128","shape":[1],"data_offsets":[0,16])").starts_with("dtype \"F128\" is not supported: expected one of BOOL, U8"));
  EXPECT_TRUE(tensor_error(R"("dtype":"f32","shape":[4],"data_offsets":[0,16])").starts_with("dtype \"f32\" is not supported"));
  EXPECT_EQ(tensor_error(R"("dtype":4,"shape":[4],"data_offsets":[0,16])"), "\"dtype\": expected a string, got a number");
  EXPECT_EQ(tensor_error(R"("dtype":["F32"],"shape":[4],"data_offsets":[0,16])"), "\"dtype\": expected a string, got a list");
}

TEST(Safetensors, Shapes) {
  const auto with_shape = [](const std::string& shape) { return tensor_error("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":[0,16]"); };
  EXPECT_EQ(with_shape("[-2,2]"), "\"shape\": expected integers that are not negative, got the number -2");
  EXPECT_EQ(with_shape("[2.0,2]"), "\"shape\": expected integers that are not negative, got the number 2.0");
  EXPECT_EQ(with_shape("[\"2\"]"), "\"shape\": expected integers that are not negative, got a string");
  EXPECT_EQ(with_shape("[[2]]"), "\"shape\": expected integers that are not negative, got a list");
  EXPECT_EQ(with_shape("4"), "\"shape\": expected a list of integers, got a number");
  EXPECT_EQ(with_shape("{}"), "\"shape\": expected a list of integers, got an object");
  EXPECT_EQ(with_shape("[18446744073709551615]"), "\"shape\" overflows");
  EXPECT_EQ(with_shape("[4294967296,4294967296]"), "\"shape\" overflows") << "the product wraps to zero in 64 bits";
  EXPECT_EQ(with_shape("[4611686018427387904]"), "\"shape\" overflows") << "times four bytes wraps to zero";
  EXPECT_EQ(with_shape("[99999999999999999999999]"), "\"shape\": expected integers that are not negative, got the number 99999999999999999999999");
  EXPECT_EQ(with_shape("[2,3]"), "\"data_offsets\" [0, 16) hold 16 bytes, but float32 [2, 3] takes 24");
}

TEST(Safetensors, Offsets) {
  const auto with_offsets = [](const std::string& offsets) { return tensor_error("\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" + offsets); };
  EXPECT_EQ(with_offsets("[16,0]"), "\"data_offsets\" [16, 0) run backwards");
  EXPECT_EQ(with_offsets("[0]"), "\"data_offsets\": expected two integers");
  EXPECT_EQ(with_offsets("[0,16,16]"), "\"data_offsets\": expected two integers");
  EXPECT_EQ(with_offsets("[-16,0]"), "\"data_offsets\": expected two integers that are not negative, got the number -16");
  EXPECT_EQ(with_offsets("[0,1e1]"), "\"data_offsets\": expected two integers that are not negative, got the number 1e1");
  EXPECT_EQ(with_offsets("[4,20]"), "\"data_offsets\" [4, 20) leave a hole: expected to begin at 0");
  EXPECT_EQ(with_offsets("[18446744073709551600,18446744073709551615]"),
            "\"data_offsets\" [18446744073709551600, 18446744073709551615) hold 15 bytes, but float32 [4] takes 16");
  EXPECT_EQ(header_error(std::string("{\"a\":{") + kGood + "}}", 15),
            "its tensors take 16 bytes, but only 15 are there; it may be truncated: copy or download it again");
  EXPECT_EQ(header_error(std::string("{\"a\":{") + kGood + "}}", 17), "1 bytes follow the last tensor");
  EXPECT_EQ(header_error("{}", 8), "8 bytes follow the last tensor");
  const std::string first = std::string("{\"a\":{") + kGood + "},\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":";
  EXPECT_EQ(header_error(first + "[8,16]}}", 16), "tensor \"b\": \"data_offsets\" [8, 16) overlap the tensor before");
  EXPECT_EQ(header_error(first + "[0,8]}}", 16), "tensor \"a\": \"data_offsets\" [0, 16) overlap the tensor before");
  EXPECT_EQ(header_error(first + "[20,28]}}", 28), "tensor \"b\": \"data_offsets\" [20, 28) leave a hole: expected to begin at 16");
  EXPECT_EQ(header_error(std::string("{\"a\":{") + kGood + "},\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[16,24]}}", 24),
            "tensor \"a\" is there twice");
}

TEST(Safetensors, NamesFromTheFileCannotBreakTheMessage) {
  EXPECT_EQ(header_error("{\"a\\nb\\u001b[2J\":1}"), "\"a?b?[2J\": expected an object, got a number");
  EXPECT_LT(header_error("{\"" + std::string(10000, 'x') + "\":1}").size(), 200u);
}

// Whatever byte of a good file is cut off or changed, reading gives a result or a UserError.
TEST(Safetensors, EveryTruncationIsAnErrorAndNoChangeCrashes) {
  const std::string good = read_file(VIVACE_TEST_DATA "/official.safetensors");
  for (size_t size = 0; size < good.size(); ++size) EXPECT_THROW(parse_file(good.substr(0, size)), UserError) << size;
  int accepted = 0;
  for (size_t i = 0; i < good.size(); ++i)
    for (const char change : {'\0', '\xff', '"', '9', '-'}) {
      std::string file = good;
      file[i] = change;
      try {
        parse_file(file);
        ++accepted;
      } catch (const UserError&) {
      }
    }
  EXPECT_GT(accepted, 0) << "changes in the data are not the header's business";
}

TEST(TensorFile, ReadsWhatTheOfficialLibraryWrote) {
  const auto file = TensorFile::open(VIVACE_TEST_DATA "/official.safetensors");
  EXPECT_EQ(file->metadata(), (Metadata{{"format", "pt\n\u00e4"}}));
  ASSERT_EQ(file->tensors().size(), 13u);
  for (const WeightInfo& weight : file->tensors()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(weight.data) % dtype_size(weight.dtype), 0u);
    EXPECT_GE(weight.data, file->map().data()) << "mapped, not copied";
    EXPECT_LE(static_cast<const std::byte*>(weight.data) + weight.bytes, file->map().data() + file->map().size());
    if (weight.name == "empty") {
      EXPECT_EQ(weight.shape, (Shape{0, 4}));
      continue;
    }
    const Tensor values = Tensor::view(weight.shape, weight.dtype, const_cast<void*>(weight.data)).to(float32);
    for (int64_t i = 0; i < values.numel(); ++i)
      EXPECT_EQ(values.floats()[static_cast<size_t>(i)], weight.dtype == DType::boolean ? i % 2 : i) << weight.name;
  }
}

TEST(TensorFile, AHeadersLengthMayLookLikeAPickle) {
  const TempFolder folder;
  const std::filesystem::path path = folder / "x.safetensors";
  for (const size_t length : {0x280, 0x580}) {  // "\x80\x02" as protocol 2 begins
    std::string header = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
    header.resize(length, ' ');
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    write_file(path, bytes + header + 'x');
    EXPECT_EQ(TensorFile::open(path)->tensors().at(0).bytes, 1u);
  }
}

TEST(TensorFile, CopiesTensorsThatAreNotAligned) {
  const TempFolder folder;
  std::string file =
      file_with(R"({"half":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"w":{"dtype":"F32","shape":[2],"data_offsets":[2,10]}})", 0);
  const uint16_t half = f16(3.f).bits;
  const float floats[] = {1.5f, -2.f};
  file.append(reinterpret_cast<const char*>(&half), 2).append(reinterpret_cast<const char*>(floats), 8);
  write_file(folder / "a.safetensors", file);
  const auto opened = TensorFile::open(folder / "a.safetensors");
  const WeightInfo& w = opened->tensors()[1];
  EXPECT_EQ(reinterpret_cast<uintptr_t>(w.data) % 4, 0u);
  EXPECT_EQ(static_cast<const float*>(w.data)[1], -2.f);
}

TEST(WriteSafetensors, SameBytesAsTheOfficialLibrary) {
  const TempFolder folder;
  std::vector<TensorSpec> specs{{"f32", float32, {2, 3}},
                                {"f16", float16, {2, 3}},
                                {"bf16", bfloat16, {2, 3}},
                                {"f8", DType::float8_e4m3, {2, 3}},
                                {"f64", DType::float64, {2, 3}},
                                {"i8", DType::int8, {2, 3}},
                                {"u8", DType::uint8, {2, 3}},
                                {"i32", DType::int32, {2, 3}},
                                {"i64", DType::int64, {2, 3}},
                                {"bool", DType::boolean, {2, 3}},
                                {"scalar", float32, {}},
                                {"empty", float16, {0, 4}},
                                {"quote \" \\ \x1f \u00fc", float32, {3}}};
  int made = 0;
  write_safetensors(folder / "a.safetensors", specs, {{"format", "pt\n\u00e4"}}, [&](size_t i) {
    ++made;
    Tensor values(specs[i].shape, float32);
    std::iota(values.floats().begin(), values.floats().end(), 0.f);
    if (specs[i].dtype == DType::boolean)
      for (float& v : values.floats()) v = static_cast<int>(v) % 2;
    return values.to(specs[i].dtype);
  });
  EXPECT_EQ(made, 13);
  EXPECT_EQ(read_file(folder / "a.safetensors"), read_file(VIVACE_TEST_DATA "/official.safetensors"));
}

TEST(WriteSafetensors, NothingIsLeftOfAFailure) {
  const TempFolder folder;
  const std::vector<TensorSpec> specs{{"a", float32, {1 << 20}}, {"b", float32, {4}}};
  const auto write = [&](const auto& second) {
    write_safetensors(folder / "a.safetensors", specs, {}, [&](size_t i) { return i == 0 ? Tensor::zeros({1 << 20}) : second(); });
  };
  EXPECT_THROW(write([]() -> Tensor { throw Interrupted("stopped"); }), Interrupted);
  EXPECT_EQ(folder.files(), 0u);
  EXPECT_THROW(write([] { return Tensor::zeros({5}); }), InternalError);
  EXPECT_THROW(write([] { return Tensor::zeros({4}, float16); }), InternalError);
  EXPECT_EQ(folder.files(), 0u);
  const auto to_device = [&] { write_safetensors("/dev/full", specs, {}, [&](size_t i) { return Tensor::zeros(specs[i].shape); }); };
  EXPECT_NE(message_of<UserError>(to_device).find("the disk is full"), std::string::npos);
  write([] { return Tensor::zeros({4}); });
  EXPECT_EQ(TensorFile::open(folder / "a.safetensors")->tensors().size(), 2u);
}

}  // namespace
}  // namespace vivace
