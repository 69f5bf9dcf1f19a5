// Which plans a component keeps.
#include "components/plan_shelf.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/device.h"
#include "base/log.h"
#include "components/component.h"

namespace vivace {
namespace {

constexpr size_t kRows = PlanShelf::kRows;

std::string key(size_t i) { return cat("size ", i); }

// Of rows that were asked for in this order.
std::vector<std::weak_ptr<const PlanShelf::Row>> fill(PlanShelf& shelf, size_t count) {
  std::vector<std::weak_ptr<const PlanShelf::Row>> rows;
  for (size_t i = 0; i < count; ++i) rows.push_back(shelf.row(key(i)));
  return rows;
}

TEST(PlanShelf, TheRowNotAskedForLongestGoes) {
  PlanShelf shelf;
  const auto rows = fill(shelf, kRows);
  EXPECT_EQ(shelf.row(key(0)), rows[0].lock());
  const auto held = shelf.row(key(1));
  for (size_t i = 0; i + 2 < kRows; ++i) (void)shelf.row(key(kRows + i));
  EXPECT_FALSE(rows[0].expired());
  for (size_t i = 2; i < kRows; ++i) EXPECT_TRUE(rows[i].expired()) << i;
  for (size_t i = 0; i < kRows; ++i) (void)shelf.row(key(2 * kRows + i));
  EXPECT_TRUE(rows[0].expired());
  EXPECT_EQ(shelf.row(key(1)), held) << "somebody works on it";
  EXPECT_EQ(shelf.rows().size(), kRows);
}

TEST(PlanShelf, NoneGoesWhileAllAreKept) {
  PlanShelf shelf;
  {
    const PlanShelf::Keeping kept = shelf.keep();
    fill(shelf, kRows + 3);
    EXPECT_EQ(shelf.rows().size(), kRows + 3);
  }
  (void)shelf.row(key(0));
  EXPECT_EQ(shelf.rows().size(), kRows);
  EXPECT_TRUE(shelf.rows().contains(key(0)));
}

TEST(PlanShelf, AComponentAskedForManySizesKeepsTheLast) {
  const Component component("toy", {}, DType::float32, {}, {}, cpu::device());
  const auto wanted = [](int64_t rows) {
    GraphRequest twice{.function = "twice", .sizes = {{"rows", rows}}};
    twice.build = [](const Sizes& sizes, Builder b) {
      const Value x = b.input("x", DType::float32, {sizes.at("rows"), 4}, Phase::step, "rows,_");
      b.output("y", b.add(x, x));
      return b.take();
    };
    return twice;
  };
  Request request;
  const auto twice = [&](int64_t rows) {
    const SessionLease session = component.lease(wanted(rows), request);
    session->write("x", Tensor::full({rows, 4}, 1.5f));
    session->run(Phase::step, request);
    return session->read("y", request);
  };
  const auto most = static_cast<int64_t>(kRows) + 8;
  for (int64_t rows = 1; rows <= most; ++rows) {
    const Tensor y = twice(rows);
    EXPECT_EQ(std::ranges::count(y.floats(), 3.f), 4 * rows);
  }
  EXPECT_EQ(component.plans_as_bytes().size(), kRows);
  EXPECT_EQ(request.counters.plans_compiled, most);
  (void)twice(most);
  EXPECT_EQ(request.counters.plans_compiled, most) << "it is there";
  EXPECT_EQ(std::ranges::count(twice(1).floats(), 3.f), 4);
  EXPECT_EQ(request.counters.plans_compiled, most + 1) << "made again";
}

}  // namespace
}  // namespace vivace
