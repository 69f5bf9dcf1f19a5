#include <gtest/gtest.h>

#include <functional>

#include "backends/cpu/device.h"
#include "base/log.h"
#include "compiler/compile.h"
#include "runtime/plan_file.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// What kernels read and write by the types and attributes of a step.
TEST(PlanFile, StepsThatLeaveTheirOperandsAreRefused) {
  const auto compiled = [](const std::string& text) { return compile(parse_graph(text), *cpu::device(), {.mode = CompileMode::default_}); };
  const auto convolution_and_sum = [&](int kernel) {
    const int side = kernel / 2;
    const std::string padding = cat('[', side, ", ", side, ", ", side, ", ", side, ']');
    return compiled(cat("%0 = input(name=\"x\") : float32[1, 6, 6, 8]\n%1 = weight(name=\"w\") : float32[8, 8, ", kernel, ", ", kernel,
                        "]\n%2 = conv2d(%0, %1, padding=", padding,
                        ", stride=1) : float32[1, 6, 6, 8]\n%3 = input(name=\"r\") : float32[1, 6, 6, 8]\n"
                        "%4 = add(%2, %3) : float32[1, 6, 6, 8]\nreturn y=%4\n"));
  };
  const Plan convolution = convolution_and_sum(3), large = convolution_and_sum(5);
  const Plan chain = compiled(R"(%0 = input(name="x") : float32[2, 8]
%1 = silu(%0) : float32[2, 8]
%2 = affine(%1, scale=0.5) : float32[2, 8]
return y=%2
)");
  const Plan norm = compiled(R"(%0 = input(name="x") : float32[2, 6, 6, 8]
%1 = weight(name="w") : float32[8]
%2 = weight(name="b") : float32[8]
%3 = group_norm(%0, %1, %2, eps=1e-05, groups=2) : float32[2, 6, 6, 8]
return y=%3
)");
  ASSERT_EQ(large.step.size(), 1u);
  ASSERT_EQ(chain.step.size(), 1u);
  const auto narrow_input = [](size_t i) { return [i](Plan& p) { p.values[static_cast<size_t>(p.inputs[i].value)].type.dtype = DType::float16; }; };
  const auto program = [](const char* text) { return [text](Plan& p) { p.step[0].attrs.set("program", std::string(text)); }; };
  const std::vector<std::pair<const Plan*, std::function<void(Plan&)>>> breaks{
      {&convolution, narrow_input(1)},
      {&convolution,
       [](Plan& p) {
         p.step[0].attrs.set("stride", (int64_t{1} << 32) + 1);
         for (const int32_t v : {p.step[0].out, p.inputs[1].value}) p.values[static_cast<size_t>(v)].type.shape = {1, 1, 1, 8};
       }},
      {&large, narrow_input(1)},
      {&chain, program("t0=silu i0;t1=affine t1000000")},
      {&chain, program("t0=silu i0;t1=affine")},
      {&chain, program("t0=silu i0;t1=affine t0 scale=0,5")},
      {&chain, program("t0=silu i1")},
      {&norm,
       [](Plan& p) {
         for (const int32_t v : {p.step[0].out, p.inputs[0].value}) p.values[static_cast<size_t>(v)].type.shape[0] = 0;
       }},
  };
  for (size_t i = 0; i < breaks.size(); ++i) {
    Plan plan = *breaks[i].first;
    EXPECT_NO_THROW(check_plan(plan, "plan", *cpu::device())) << i;
    breaks[i].second(plan);
    EXPECT_THROW(check_plan(plan, "plan", *cpu::device()), UserError) << i;
  }
}

}  // namespace
}  // namespace vivace
