// Plans as bytes: every field comes back, and no damage gets past the reader.
#include "runtime/plan_file.h"

#include <xxhash.h>

#include <cstring>
#include <random>

#include "../models/components.h"
#include "../temp_folder.h"
#include "backends/cpu/device.h"
#include "backends/ref/device.h"
#include "base/log.h"
#include "runtime/resize.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// With a checksum that fits, so that what lies behind it is read.
std::string resealed(std::string file) {
  const uint64_t checksum = XXH3_64bits(file.data() + 24, file.size() - 24);
  std::memcpy(file.data() + 16, &checksum, sizeof(checksum));
  return file;
}

Plan small_plan() {
  return compile(parse_graph(R"(%0 = input(name="x") : float32[2, 6]
%1 = weight(name="w") : float32[4, 6]
%2 = linear(%0, %1) : float32[2, 4]
%3 = silu(%2) : float32[2, 4]
return y=%3
)"),
                 *cpu::device(), {.mode = CompileMode::default_});
}

TEST(PlanFile, EveryFieldComesBack) {
  for (CompileMode mode : {CompileMode::off, CompileMode::default_, CompileMode::max_autotune})
    for (DType dtype : {DType::float32, DType::float16}) {
      Plan plan = compile(golden::sdxl_graph(dtype), *cpu::device(), {.mode = mode, .autotune_seconds = 0});
      // What this machine's compiling leaves empty.
      plan.step[3].tuning = "rows=4";
      plan.step[3].measured = {{"gemm", "rows=4", 1e-3}, {"gemm_other", "", 0.5}};
      plan.autotuning = {
          .calls = 9, .different_calls = 5, .timed = 4, .settings = 31, .settings_each_call = 62, .seconds = 0.25, .seconds_each_call = 0.5};
      plan.regions = {{"mid_block.attentions.0.transformer_blocks.0", 3, 17, 1e-3}};
      plan.graph_breaks = {"one", "two"};
      std::ranges::find(plan.step, Op::linear, &PlanStep::op)
          ->attrs.set("strassen_error", Attr(int64_t{1} << 40));  // a whole number where a real one may stand
      const std::string file = serialize_plan(plan);
      EXPECT_EQ(parse_plan(bytes_of(file), "plan", *cpu::device()), plan);
      EXPECT_EQ(serialize_plan(plan), file);
    }
}

TEST(PlanFile, EveryFieldCounts) {
  // Each change to one field changes the bytes and comes back.
  const Plan plan = small_plan();
  const std::string file = serialize_plan(plan);
  const std::vector<std::function<void(Plan&)>> changes{
      [](Plan& p) { p.values[2].key = "k"; },
      [](Plan& p) { p.step[0].scope = "s"; },
      [](Plan& p) { p.step[0].line = -3; },
      [](Plan& p) { p.step[0].tuning = "t=1"; },
      [](Plan& p) { p.step[0].refused.emplace_back("a", "b"); },
      [](Plan& p) { p.step[0].measured = {{}}; },
      [](Plan& p) { p.arena_bytes += 64; },
      [](Plan& p) { ++p.constant_bytes; },
      [](Plan& p) {
        p.pass_seconds = {{"a", 0.5}};
      },
      [](Plan& p) { p.graph_breaks.push_back("b"); },
      [](Plan& p) { p.outputs.push_back(p.outputs[0]); },
      [](Plan& p) {
        p.symbols = {{{"height", "width"}}};
      },
      [](Plan& p) {
        p.inputs[0].dims = {{"batch", 1}, {"width", 3}};
      },
      [](Plan& p) { p.values[3].in_place = !p.values[3].in_place; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    Plan changed = plan;
    changes[i](changed);
    const std::string other = serialize_plan(changed);
    EXPECT_NE(other, file) << i;
    EXPECT_EQ(parse_plan(bytes_of(other), "plan", *cpu::device()), changed) << i;
  }
}

TEST(PlanFile, ADynamicPlanCanStillBeResized) {
  const Plan plan =
      compile(golden::sdxl_graph(DType::float32), *cpu::device(), {.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false});
  const std::string file = serialize_plan(plan);
  const Plan read = parse_plan(bytes_of(file), "plan", *cpu::device());
  for (const Sizes& sizes : {Sizes{{"batch", 1}}, {{"height", 4}, {"width", 12}}, {{"batch", 3}, {"tokens", 5}, {"timesteps", 30}}}) {
    Plan from_plan, from_file;
    ASSERT_EQ(resize(plan, sizes, *cpu::device(), from_plan), std::nullopt);
    ASSERT_EQ(resize(read, sizes, *cpu::device(), from_file), std::nullopt);
    EXPECT_EQ(from_file, from_plan);
    EXPECT_NO_THROW(check_plan(from_file, "resized", *cpu::device()));
  }
}

// Frames of a video in front of which its first is repeated: the last part is written where it lies in the concat, the others are read from it.
TEST(PlanFile, APartMayBeReadByOthersOfItsConcat) {
  const Plan plan = compile(parse_graph(R"(%0 = input(name="x") : float32[1, 2, 8]
%1 = silu(%0) : float32[1, 2, 8]
%2 = slice(%1, axis=1, begin=0, end=1) : float32[1, 1, 8]
%3 = concat(%2, %1, axis=1) : float32[1, 3, 8]
%4 = softmax(%3) : float32[1, 3, 8]
return y=%4
)"),
                            *cpu::device(), {.mode = CompileMode::default_});
  ASSERT_TRUE(std::ranges::any_of(plan.values, [](const PlanValue& value) { return value.inside >= 0 && value.shift > 0 && !value.in_place; }));
  EXPECT_EQ(parse_plan(bytes_of(serialize_plan(plan)), "plan", *cpu::device()), plan);
}

TEST(PlanFile, DamageIsAClearError) {
  const std::string good = serialize_plan(small_plan());
  const auto error = [&](const std::string& file) { return message_of<UserError>([&] { parse_plan(bytes_of(file), "x.plan", *cpu::device()); }); };
  EXPECT_EQ(error(""), "x.plan: is no plan of Vivace's");
  EXPECT_EQ(error("GIF89a" + good), "x.plan: is no plan of Vivace's");
  std::string newer = good;
  newer[8] = 99;
  EXPECT_EQ(error(newer), cat("x.plan: holds a plan of format 99, this Vivace reads ", kPlanFileVersion, ": make it again"));
  for (size_t i = 0; i < good.size(); i += 7)
    EXPECT_EQ(error(good.substr(0, std::max<size_t>(i, 24))), "x.plan: damaged or cut short (its checksum differs): make it again") << "cut at " << i;
  EXPECT_NE(error(resealed(good + "x")).find("x.plan: damaged at byte"), std::string::npos);
  Plan plan = small_plan();
  for (auto* program : {&plan.prepare, &plan.step})
    for (PlanStep& step : *program) step.kernel = "linear_from_the_future";
  EXPECT_NE(error(serialize_plan(plan)).find("asks for kernel linear_from_the_future"), std::string::npos);
  plan = small_plan();
  plan.backend = "tpu";
  EXPECT_NE(error(serialize_plan(plan)).find("is for device tpu"), std::string::npos);
}

TEST(PlanFile, BuffersOutsideTheArenaAreRefused) {
  const std::vector<std::function<void(Plan&)>> breaks{
      [](Plan& p) { p.arena_bytes = 8; },
      [](Plan& p) { p.values[static_cast<size_t>(p.step[0].out)].offset += int64_t{1} << 40; },
      [](Plan& p) { p.values[static_cast<size_t>(p.step[0].out)].offset = -64; },
      [](Plan& p) {
        p.values[static_cast<size_t>(p.step[0].out)].type.shape = {2, 1 << 30};
      },
      [](Plan& p) {
        p.values[static_cast<size_t>(p.step[0].out)].type.shape = {int64_t{1} << 40, int64_t{1} << 40};
      },
      [](Plan& p) { p.values[static_cast<size_t>(p.inputs[0].value)].pitch = 3; },
      [](Plan& p) { p.step[0].out = 100; },
      [](Plan& p) { p.step[0].in[0] = -2; },
      [](Plan& p) { p.step[0].in.clear(); },
      [](Plan& p) { p.inputs[0].value = 77; },
      [](Plan& p) { p.step[0].op = Op::add; },
      [](Plan& p) {
        p.step[0].attrs = {};
        p.values[static_cast<size_t>(p.step[0].in[0])].type.shape = {2, 5};
      },
  };
  for (size_t i = 0; i < breaks.size(); ++i) {
    Plan plan = small_plan();
    breaks[i](plan);
    EXPECT_THROW(parse_plan(bytes_of(serialize_plan(plan)), "plan", *cpu::device()), UserError) << i;
  }
}

// A product of weights alone is prepared, and so is the packed form that it reads.
TEST(PlanFile, ProductsOfWeightsArePrepared) {
  auto plan = std::make_shared<const Plan>(compile(parse_graph(R"(%0 = input(name="x") : float32[2, 3]
%1 = weight(name="a") : float32[2, 2]
%2 = weight(name="b") : float32[3, 2]
%3 = linear(%1, %2) : float32[2, 3]
%4 = add(%0, %3) : float32[2, 3]
return y=%4
)"),
                                                   *cpu::device(), {}));
  check_plan(*plan, "plan", *cpu::device());
  std::map<std::string, std::vector<float>> weights{{"a", {1, 2, 3, 4}}, {"b", {1, 0, 0, 1, 1, 1}}};
  ConstantStore store(cpu::device());
  Request request;
  Session session(plan, *cpu::device(), store,
                  {.find =
                       [&](const std::string& name) {
                         return WeightBytes{DType::float32, weights.at(name).data()};
                       },
                   .release = [](const std::string&) {}},
                  request);
  session.write("x", Tensor::zeros({2, 3}));
  session.run(Phase::step, request);
  const Tensor y = session.read("y", request);
  const std::vector<float> expected{1, 2, 3, 3, 4, 7};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(y.floats()[i], expected[i]) << i;
}

// What a resize relies on: it follows views to the buffer they lie in and places everything anew.
TEST(PlanFile, ViewsOutsideTheirBufferAreRefused) {
  const Plan good = compile(golden::sdxl_graph(DType::float32), *cpu::device(), {.mode = CompileMode::default_, .dynamic = true});
  const auto slice = static_cast<size_t>(std::ranges::find(good.views, Op::slice, &PlanView::op) - good.views.begin());
  const auto reshape = static_cast<size_t>(std::ranges::find_if(good.views, [](const PlanView& v) { return is_view(v.op); }) - good.views.begin());
  ASSERT_LT(std::max(slice, reshape), good.views.size());
  const auto value = [](Plan& p, size_t view) -> PlanValue& { return p.values[static_cast<size_t>(p.views[view].out)]; };
  const std::vector<std::function<void(Plan&)>> breaks{
      [&](Plan& p) { value(p, slice).shift += 4; },
      [&](Plan& p) { value(p, slice).shift = -4; },
      [&](Plan& p) { ++value(p, slice).pitch; },
      [&](Plan& p) { value(p, slice).inside = p.views[slice].out; },
      [&](Plan& p) { value(p, reshape).inside = -1; },
      [&](Plan& p) { value(p, reshape).shift = 64; },
      [&](Plan& p) { p.views[slice].in.clear(); },
      [&](Plan& p) { p.views[slice].in[0] = 1 << 20; },
      [&](Plan& p) { p.views[slice].op = Op::add; },
      [&](Plan& p) { p.views.push_back(p.views[slice]); },
      [&](Plan& p) { p.views.erase(p.views.begin() + static_cast<std::ptrdiff_t>(slice)); },
      [&](Plan& p) { p.inputs[0].dims.resize(9); },
      [&](Plan& p) { p.inputs[0].dims[0].multiple_of = 0; },
      [&](Plan& p) { p.symbols.push_back({}); },
      [&](Plan& p) { p.prepare.clear(); },
      [&](Plan& p) { std::ranges::reverse(p.prepare); },
  };
  EXPECT_NO_THROW(check_plan(good, "plan", *cpu::device()));
  for (size_t i = 0; i < breaks.size(); ++i) {
    Plan plan = good;
    breaks[i](plan);
    EXPECT_THROW(check_plan(plan, "plan", *cpu::device()), UserError) << i;
  }
}

// Parts of a concat that their producers write in its buffer.
TEST(PlanFile, PartsOutsideTheirConcatAreRefused) {
  const Plan good = compile(golden::sdxl_graph(DType::float32), *cpu::device(), {.mode = CompileMode::default_});
  std::vector<bool> viewed(good.values.size());
  for (const PlanView& view : good.views) viewed[static_cast<size_t>(view.out)] = true;
  size_t part = 0;
  while (part < good.values.size() && (good.values[part].inside <= static_cast<int32_t>(part) || viewed[part])) ++part;
  const auto whole = std::ranges::find(good.views, Op::concat, &PlanView::op);
  ASSERT_LT(part, good.values.size());
  ASSERT_NE(whole, good.views.end());
  const auto index = whole - good.views.begin();
  const std::vector<std::function<void(Plan&)>> breaks{
      [&](Plan& p) { p.values[part].shift += 4; },
      [&](Plan& p) { ++p.values[part].pitch; },
      [&](Plan& p) { ++p.values[part].inside; },
      [&](Plan& p) { p.values[static_cast<size_t>(p.values[part].inside)].inside = static_cast<int32_t>(part); },
      [&](Plan& p) { std::ranges::reverse(p.views[static_cast<size_t>(index)].in); },
      [&](Plan& p) { p.views[static_cast<size_t>(index)].in.pop_back(); },
      [&](Plan& p) { p.views[static_cast<size_t>(index)].attrs.set("axis", int64_t{1}); },
      [&](Plan& p) { p.values[static_cast<size_t>(p.views[static_cast<size_t>(index)].out)].inside = 0; },
  };
  EXPECT_NO_THROW(check_plan(good, "plan", *cpu::device()));
  for (size_t i = 0; i < breaks.size(); ++i) {
    Plan plan = good;
    breaks[i](plan);
    EXPECT_THROW(check_plan(plan, "plan", *cpu::device()), UserError) << i;
  }
}

// Random damage behind a checksum that fits: refused, or a plan that passes every check; never a crash or an endless loop.
TEST(PlanFile, RandomDamage) {
  const std::string good = serialize_plan(compile(golden::sdxl_graph(DType::float32), *cpu::device(), {.mode = CompileMode::default_}));
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (int i = 0; i < 1 + round % 4; ++i) bad[24 + random() % (bad.size() - 24)] = static_cast<char>(random());
    if (round % 10 == 0) bad.resize(24 + random() % (bad.size() - 24));
    try {
      parse_plan(bytes_of(resealed(bad)), "plan", *cpu::device());
    } catch (const UserError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("plan: ")) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

// What is known to be whole is not read before it is used; what is not is, once.
TEST(ConstantStore, ReadsWhatItDoesNotKnowToBeWhole) {
  const std::vector<float> values(100, 1);
  std::vector<Constant> constants;
  for (const char* name : {"a", "b"})
    constants.push_back({hash128(name), std::shared_ptr<void>(const_cast<float*>(values.data()), [](void*) {}), values.size() * sizeof(float)});
  const auto file = std::make_shared<std::vector<std::byte>>();
  ConstantFile::write(constants, *cpu::device(), [&](std::span<const std::byte> piece) { file->insert(file->end(), piece.begin(), piece.end()); });
  (*file)[file->size() - 60] ^= std::byte{1};  // of one of them
  Request request;
  const std::unique_ptr<Stream> stream = cpu::device()->stream();
  for (const uint8_t known : {0, 1}) {
    ConstantStore store(cpu::device());
    int damaged = 0;
    ConstantStore::Whole checked;
    store.add_file(
        ConstantFile::open(*file, file, "test"), [&](const ConstantFile&) { ++damaged; }, ConstantStore::Whole(2, known),
        [&](const ConstantStore::Whole& whole) { checked = whole; });
    for (const Constant& c : constants) EXPECT_TRUE(store.find(c.id, c.bytes, *stream));
    EXPECT_EQ(store.check_found(), known == 1);
    EXPECT_EQ(damaged, 1 - known);
    EXPECT_TRUE(checked.empty()) << "nothing new is known";
  }
  (*file)[file->size() - 60] ^= std::byte{1};
  ConstantStore store(cpu::device());
  ConstantStore::Whole checked;
  store.add_file(
      ConstantFile::open(*file, file, "test"), [](const ConstantFile&) {}, {}, [&](const ConstantStore::Whole& whole) { checked = whole; });
  EXPECT_TRUE(store.find(constants[0].id, constants[0].bytes, *stream));
  EXPECT_TRUE(store.check_found());
  EXPECT_EQ(std::ranges::count(checked, 1), 1) << "the other one has not been read";

  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(store.find(constants[1].id, constants[1].bytes, *stream));
  EXPECT_THROW(store.check_found(stop.get_token()), Interrupted);
  EXPECT_EQ(std::ranges::count(checked, 1), 1);
  EXPECT_EQ(store.bytes(), constants[0].bytes) << "what is not known to be whole does not count";
  EXPECT_TRUE(store.find(constants[1].id, constants[1].bytes, *stream));
  EXPECT_TRUE(store.check_found());
  EXPECT_EQ(std::ranges::count(checked, 1), 2);
}

}  // namespace
}  // namespace vivace
