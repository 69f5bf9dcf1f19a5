#include "vivace/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "vivace/error.h"

namespace vivace {
namespace {

Tensor counting(Shape shape) {
  Tensor t(std::move(shape), DType::float32);
  std::iota(t.as<float>(), t.as<float>() + t.numel(), 0.f);
  return t;
}

TEST(Tensor, StorageIsAlignedAndSized) {
  const Tensor t({3, 5}, DType::bfloat16);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data()) % 64, 0u);
  EXPECT_EQ(t.numel(), 15);
  EXPECT_EQ(t.bytes(), 30u);
  EXPECT_EQ(t.dim(-1), 5);
  EXPECT_TRUE(t.defined());
  EXPECT_FALSE(Tensor().defined());
  EXPECT_TRUE(Tensor({0, 7}, DType::float32).defined());
  EXPECT_EQ(to_string(t.shape()), "[3, 5]");
}

TEST(Tensor, RefusesNegativeAndOverflowingShapes) {
  EXPECT_THROW(Tensor({-1}, DType::float32), UserError);
  EXPECT_THROW(Tensor({int64_t{1} << 40, int64_t{1} << 40}, DType::float32), UserError);
}

TEST(Tensor, CopiesShareAndClonesDoNot) {
  Tensor a = Tensor::full({4}, 1.f), b = a;
  const Tensor c = a.clone();
  a.as<float>()[0] = 7;
  EXPECT_EQ(b.as<float>()[0], 7.f);
  EXPECT_EQ(c.as<float>()[0], 1.f);
}

TEST(Tensor, MakersFillInOrder) {
  EXPECT_EQ(Tensor::zeros({2, 2}).floats()[3], 0.f);
  EXPECT_EQ(Tensor::from({1.f, 2.f, 3.f}).shape(), (Shape{3}));
  const std::vector<float> values{1, 2, 3, 4};
  EXPECT_EQ(Tensor::from({2, 2}, values).as<float>()[2], 3.f);
  EXPECT_THROW(Tensor::from({3}, values), UsageError);
  const std::vector<int32_t> ids{5, 6};
  const Tensor t = Tensor::from({2}, ids);
  EXPECT_EQ(t.dtype(), DType::int32);
  EXPECT_EQ(t.as<int32_t>()[1], 6);
  EXPECT_THROW(t.floats(), InternalError);
}

TEST(Tensor, ViewKeepsItsOwner) {
  auto owner = std::make_shared<std::vector<float>>(8, 2.f);
  const std::weak_ptr<std::vector<float>> watch = owner;
  Tensor view = Tensor::view({8}, DType::float32, owner->data(), owner);
  owner.reset();
  Tensor row = view.rows(4, 6);
  view = Tensor();
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(row.as<float>()[1], 2.f);
  row = Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, ConvertsBetweenAllPairsOfTypes) {
  constexpr DType kTypes[] = {DType::float32, DType::float16, DType::bfloat16, DType::float8_e4m3, DType::float64,
                              DType::int8,    DType::uint8,   DType::int32,    DType::int64};
  const Tensor source = Tensor::from({0.f, 1.f, 2.f, 5.f, 8.f});  // exact in every type
  for (DType from : kTypes)
    for (DType to : kTypes) {
      const Tensor there = source.to(from).to(to);
      ASSERT_EQ(there.dtype(), to);
      const Tensor back = there.to(DType::float32);
      for (int i = 0; i < 5; ++i) EXPECT_EQ(back.as<float>()[i], source.as<float>()[i]) << dtype_name(from) << " to " << dtype_name(to);
    }
  const Tensor flags = source.to(DType::boolean);
  EXPECT_FALSE(flags.as<bool>()[0]);
  EXPECT_TRUE(flags.as<bool>()[3]);
}

TEST(Tensor, ConversionRoundsToNearestEven) {
  const Tensor t = Tensor::from({1.f + 0x1p-9f, 1.f + 0x3p-9f}).to(DType::bfloat16).to(DType::float32);  // bf16 keeps 7 bits behind the point
  EXPECT_EQ(t.as<float>()[0], 1.f);
  EXPECT_EQ(t.as<float>()[1], 1.f + 0x1p-7f);
}

TEST(Tensor, ReshapeAndRowsShareStorage) {
  Tensor t = counting({4, 6});
  const Tensor r = t.reshape({2, 12});
  EXPECT_EQ(r.data(), t.data());
  EXPECT_THROW(t.reshape({5, 5}), UsageError);
  const Tensor rows = t.rows(1, 3);
  EXPECT_EQ(rows.shape(), (Shape{2, 6}));
  EXPECT_EQ(rows.as<float>()[0], 6.f);
  EXPECT_EQ(t.rows(4, 4).numel(), 0);
  EXPECT_THROW(t.rows(3, 5), UsageError);
  EXPECT_THROW(t.rows(-1, 2), UsageError);
  EXPECT_THROW(t.rows(2, 1), UsageError);
}

TEST(Tensor, ConcatRows) {
  const Tensor parts[] = {counting({1, 3}), counting({2, 3})};
  const Tensor joined = concat_rows(parts);
  EXPECT_EQ(joined.shape(), (Shape{3, 3}));
  EXPECT_EQ(joined.as<float>()[3], 0.f);
  EXPECT_EQ(joined.as<float>()[8], 5.f);
  const Tensor other_shape[] = {counting({1, 3}), counting({1, 4})}, other_type[] = {counting({1, 3}), counting({1, 3}).to(DType::float64)};
  EXPECT_THROW(concat_rows(other_shape), UsageError);
  EXPECT_THROW(concat_rows(other_type), UsageError);
}

TEST(Tensor, LayoutsSwapChannels) {
  const Tensor nchw = counting({2, 3, 2, 5});
  const Tensor nhwc = nchw_to_nhwc(nchw);
  EXPECT_EQ(nhwc.shape(), (Shape{2, 2, 5, 3}));
  for (int n = 0; n < 2; ++n)
    for (int c = 0; c < 3; ++c)
      for (int h = 0; h < 2; ++h)
        for (int w = 0; w < 5; ++w) EXPECT_EQ(nhwc.as<float>()[((n * 2 + h) * 5 + w) * 3 + c], nchw.as<float>()[((n * 3 + c) * 2 + h) * 5 + w]);
  const Tensor back = nhwc_to_nchw(nhwc);
  EXPECT_EQ(back.shape(), nchw.shape());
  EXPECT_EQ(std::memcmp(back.data(), nchw.data(), nchw.bytes()), 0);
  EXPECT_THROW(nchw_to_nhwc(counting({2, 3})), InternalError);
}

}  // namespace
}  // namespace vivace
