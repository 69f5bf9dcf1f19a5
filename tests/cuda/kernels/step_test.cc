// What stands around a model's step in a denoising loop, bit for bit as the oracle has it.
#include "backends/cuda/kernels/step.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/step_loop.h"
#include "testing.h"

namespace vivace::cuda {
namespace {

constexpr int64_t kImages = 2, kChannels = 3, kPixels = 35, kBeside = 2, kValues = kImages * kChannels * kPixels;

// What a loop is asked for beside the scheduler's step.
struct Case {
  DType dtype = DType::float32;
  bool halves = false, bad = false, kept = false;
  float rescale = 0;
};

// The buffers of a loop of two steps: the first clips, draws noise and keeps a tensor, the second reads that, and only then a second model adds.
struct Buffers {
  explicit Buffers(const Case& c)
      : input({kImages * (c.halves ? 2 : 1), kPixels, kChannels + kBeside}, c.dtype),
        output(draw({(c.halves ? 2 : 1) * kValues}, c.dtype, 1)),
        first(draw({60}, c.dtype, 5)),
        second(draw({30}, c.dtype, 6)),
        sum({60}, c.dtype) {
    const auto bits = [](float x) { return std::bit_cast<int>(x); };
    table = {// step, input scale, guidance, rescale, what is kept and its noise, what models add, combinations
             41, bits(0.6f), bits(7.5f), bits(c.rescale), bits(0.8f), bits(0.3f), bits(0.5f), 0, 0, 0, 3,
             // target, range, terms: slot, coefficient
             kPrediction, bits(0.75f), 2, kSample, bits(1.1f), kModelOutput, bits(-0.3f),  //
             kHistory, bits(0), 1, kPrediction, bits(1),                                   //
             kPrevSample, bits(0), 3, kSample, bits(0.3f), kPrediction, bits(0.7f), kNoise, bits(0.01f)};
    row_words = static_cast<int>(table.size());
    table.insert(table.end(), {42, bits(0.9f), bits(7), bits(c.rescale), bits(1), bits(0), bits(0.5f), bits(0.3f), 0, 0, 1, kPrevSample, bits(0), 2,
                               kHistory, bits(0.2f), kModelOutput, bits(0.8f)});
    table.resize(2 * static_cast<size_t>(row_words));
    for (int64_t i = 2 * kValues; i < kept.numel(); ++i) kept.floats()[i] = i % 3 == 0 ? 0.f : 1.f;
    loop = {.table = table.data(),
            .slots = slots.as<float>(),
            .kept = c.kept ? kept.as<float>() : nullptr,
            .row_words = row_words,
            .row = 0,
            .bad_row = -1,
            .unused = 0};
  }
  Buffers(const Buffers&) = delete;

  std::vector<int> table;
  int row_words = 0, step = 0;
  Tensor slots = draw({kHistory + 1, kValues}, DType::float32, 2), beside = draw({kImages, kBeside, kPixels}, DType::float32, 3),
         kept = draw({2 * kValues + kImages * kPixels}, DType::float32, 4);
  Tensor input, output, first, second, sum;
  vivace::LoopState loop{};
};

void expect_equal_steps(const Tensor& a, const Tensor& b, const char* what) { EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << what; }

// A deviation is a sum of kChannels * kPixels squares in another order.
void expect_near(const Tensor& a, const Tensor& b) {
  for (int64_t i = 0; i < a.numel(); ++i)
    EXPECT_NEAR(a.floats()[i], b.floats()[i], 4 * kChannels * kPixels * 0x1p-24 * std::max(1.f, std::abs(b.floats()[i]))) << i;
}

void expect_the_oracles(const Case& c) {
  SCOPED_TRACE(testing::Message() << dtype_name(c.dtype) << (c.halves ? ", halves" : "") << (c.kept ? ", kept" : ""));
  const int64_t bytes = static_cast<int64_t>(dtype_size(c.dtype));
  for (unsigned seed : {0u, 1u, 2u}) {
    Buffers got(c), want(c);
    const auto negative_or = [&](const Buffers& b, bool negative) -> const void* {
      const auto* const output = static_cast<const char*>(b.output.data());
      return negative ? c.halves ? output : nullptr : output + (c.halves ? kValues * bytes : 0);
    };
    LoopCall call{.state = &want.loop,
                  .output = negative_or(want, false),
                  .negative = negative_or(want, true),
                  .beside = want.beside.as<float>(),
                  .output_dtype = c.dtype,
                  .images = kImages,
                  .channels = kChannels,
                  .pixels = kPixels,
                  .beside_channels = kBeside};
    call.models.push_back({.input = want.input.data(), .step = &want.step, .input_dtype = c.dtype, .halves = c.halves, .beside = true, .given = {}});
    call.sums.push_back({want.sum.data(), c.dtype, 60, 0.25f, {{want.first.data(), 60}, {want.second.data(), 30}}});
    const LoopKernels oracle = ref::device()->loop_kernels(call);
    auto* const state = reinterpret_cast<LoopState*>(&got.loop);
    const auto feed = make_feed({.state = state,
                                 .input = got.input.data(),
                                 .step = &got.step,
                                 .beside = got.beside.as<float>(),
                                 .count = got.input.numel(),
                                 .images = kImages,
                                 .channels = kChannels,
                                 .beside_channels = kBeside,
                                 .pixels = kPixels},
                                c.dtype);
    const auto add = make_add({.state = state,
                               .to = got.sum.data(),
                               .count = 60,
                               .from = {got.first.data(), got.second.data()},
                               .counts = {60, 30},
                               .models = 2,
                               .depth = 0.25f},
                              c.dtype);
    const GuideArguments guided{.state = state,
                                .positive = negative_or(got, false),
                                .negative = negative_or(got, true),
                                .count = kValues,
                                .channels = kChannels,
                                .pixels = kPixels};
    const auto stream = ref::device()->stream();
    for (int step = 0; step < 2; ++step) {
      if (c.bad && step == 1)
        for (Buffers* b : {&got, &want}) b->output.as<float>()[7] = INFINITY;
      oracle.add->run(*stream);
      host_cuda::run(add, seed);
      expect_equal_steps(got.sum, want.sum, "sum");
      oracle.feeds[0]->run(*stream);
      host_cuda::run(feed, seed);
      EXPECT_EQ(got.step, 41 + step);
      EXPECT_EQ(want.step, got.step);
      expect_equal_steps(got.input, want.input, "input");
      oracle.finish->run(*stream);
      host_cuda::run(make_guide(guided, c.dtype), seed);
      if (c.halves) host_cuda::run(make_rescale(guided, c.dtype), seed);
      host_cuda::run(make_finish({.state = state, .count = kValues, .channels = kChannels, .pixels = kPixels}), seed);
      host_cuda::run(make_advance(state), seed);
      if (c.rescale > 0)
        expect_near(got.slots, want.slots);
      else
        expect_equal_steps(got.slots, want.slots, "slots");
      EXPECT_EQ(got.loop.row, step + 1);
      EXPECT_EQ(got.loop.bad_row, want.loop.bad_row);
    }
    EXPECT_EQ(got.loop.bad_row, c.bad ? 1 : -1);
  }
}

TEST(CudaStep, IsTheOracles) {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16})
    for (bool halves : {false, true}) expect_the_oracles({.dtype = dtype, .halves = halves, .kept = halves});
}

TEST(CudaStep, NotesTheFirstStepThatIsNotFinite) { expect_the_oracles({.halves = true, .bad = true}); }

TEST(CudaStep, RescalesWhatIsGuided) {
  for (DType dtype : {DType::float32, DType::bfloat16}) expect_the_oracles({.dtype = dtype, .halves = true, .rescale = 0.7f});
}

}  // namespace
}  // namespace vivace::cuda
