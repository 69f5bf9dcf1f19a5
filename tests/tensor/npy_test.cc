// .npy files as numpy.save writes them, and files that only look like them.
#include "tensor/npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "base/files.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Format 1.0 with that dict, as NumPy pads it, and `bytes` behind it.
std::string npy(const std::string& dict, const std::string& bytes, char version = 1) {
  std::string header = dict;
  header.resize(117, ' ');
  header += '\n';
  std::string file = std::string("\x93NUMPY") + version + std::string(1, '\0') + static_cast<char>(header.size()) + '\0';
  if (version > 1) file += std::string(2, '\0');
  return file + header + bytes;
}

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(std::data(values)), values.size() * sizeof(T));
}

std::string refusal(const std::string& file) {
  const TempFolder folder;
  write_file(folder / "x.npy", file);
  try {
    load_npy(folder / "x.npy");
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("x.npy"), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}

TEST(Npy, WhatIsSavedIsLoaded) {
  const TempFolder folder;
  for (const Shape& shape : {Shape{}, Shape{6}, Shape{2, 3}, Shape{1, 2, 3, 1}, Shape{0, 4}}) {
    Tensor values(shape, float32);
    float next = -2.5f;
    for (float& x : values.floats()) x = next += 1.25f;
    save_npy(folder / "x.npy", values);
    const Tensor back = load_npy(folder / "x.npy");
    EXPECT_EQ(back.shape(), shape);
    EXPECT_EQ(std::memcmp(back.data(), values.data(), values.bytes()), 0);
  }
}

TEST(Npy, TheHeaderIsNumPys) {
  const std::string header = npy_header({3});
  EXPECT_EQ(header.size() % 64, 0u);
  EXPECT_NE(header.find("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"), std::string::npos) << header;
  EXPECT_NE(npy_header({2, 4, 16}).find("(2, 4, 16)"), std::string::npos);
  EXPECT_NE(npy_header({}).find("'shape': ()"), std::string::npos);
}

TEST(Npy, OtherWidthsBecomeFloat32) {
  const TempFolder folder;
  const auto load = [&](const std::string& file) {
    write_file(folder / "x.npy", file);
    const Tensor values = load_npy(folder / "x.npy");
    return std::vector<float>(values.floats().begin(), values.floats().end());
  };
  EXPECT_EQ(load(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes_of({1.5, -0.25}))), (std::vector{1.5f, -0.25f}));
  EXPECT_EQ(load(npy("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2), }", bytes_of<uint16_t>({0x3c00, 0xc100}))),
            (std::vector{1.f, -2.5f}));
  EXPECT_EQ(load(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", bytes_of({7.f}), 2)), (std::vector{7.f}));
}

TEST(Npy, WhatIsNoneIsNamed) {
  const std::string four = bytes_of({1.f, 2.f, 3.f, 4.f});
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
  EXPECT_EQ(refusal(npy(good, four)), "");
  EXPECT_NE(refusal("PK\x03\x04 and more of it").find("not a .npy file"), std::string::npos);
  EXPECT_NE(refusal("\x93NUMPY").find("not a .npy file"), std::string::npos);
  EXPECT_NE(refusal(npy(good, four, 9)).find("version 9"), std::string::npos);
  EXPECT_NE(refusal(npy(good, four).substr(0, 40)).find("longer than the file"), std::string::npos);
  EXPECT_NE(refusal(npy(good, four.substr(4))).find("the 12 bytes that follow"), std::string::npos);
  EXPECT_NE(refusal(npy(good, four + "x")).find("the 17 bytes that follow"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", four)).find("'<i8'"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", four)).find("column by column"), std::string::npos);
  for (const char* shape : {"(2, 2", "(-4,)", "(2 x 2)", "4", "(99999999999999999999,)"})
    EXPECT_NE(refusal(npy(std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + "}", four)).find("no shape"), std::string::npos)
        << shape;
  // Products that wrap are no way in.
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", four)).find("is not the 16 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace vivace
