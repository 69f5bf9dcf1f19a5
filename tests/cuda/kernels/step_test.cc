// What stands around a model's step in a denoising loop, bit for bit as the oracle has it.
#include "backends/cuda/kernels/step.h"

#include <bit>

#include "runtime/step_loop.h"
#include "testing.h"

namespace vivace::cuda {
namespace {

constexpr int64_t kImages = 2, kChannels = 3, kPixels = 35, kBeside = 2, kValues = kImages * kChannels * kPixels;

// The buffers of a loop of two steps: the first clips, draws noise and keeps a tensor, the second reads that.
struct Buffers {
  explicit Buffers(DType dtype, bool halves)
      : input({kImages * (halves ? 2 : 1), kPixels, kChannels + kBeside}, dtype), output(draw({(halves ? 2 : 1) * kValues}, dtype, 1)) {
    const auto bits = [](float x) { return std::bit_cast<int>(x); };
    table = {// step, input scale, guidance, combinations
             41, bits(0.6f), bits(7.5f), 3,
             // target, range, terms: slot, coefficient
             kPrediction, bits(0.75f), 2, kSample, bits(1.1f), kModelOutput, bits(-0.3f),  //
             kHistory, bits(0), 1, kPrediction, bits(1),                                   //
             kPrevSample, bits(0), 3, kSample, bits(0.3f), kPrediction, bits(0.7f), kNoise, bits(0.01f)};
    row_words = static_cast<int>(table.size());
    table.insert(table.end(), {42, bits(0.9f), bits(7), 1, kPrevSample, bits(0), 2, kHistory, bits(0.2f), kModelOutput, bits(0.8f)});
    table.resize(2 * static_cast<size_t>(row_words));
    loop = {.table = table.data(), .slots = slots.as<float>(), .row_words = row_words, .row = 0, .bad_row = -1, .unused = 0};
  }
  Buffers(const Buffers&) = delete;

  std::vector<int> table;
  int row_words = 0, step = 0;
  Tensor slots = draw({kHistory + 1, kValues}, DType::float32, 2), beside = draw({kImages, kBeside, kPixels}, DType::float32, 3);
  Tensor input, output;
  vivace::LoopState loop{};
};

void expect_equal(const Tensor& a, const Tensor& b, const char* what) { EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << what; }

void expect_the_oracles(DType dtype, bool halves, bool bad) {
  SCOPED_TRACE(testing::Message() << dtype_name(dtype) << (halves ? ", halves" : ""));
  for (unsigned seed : {0u, 1u, 2u}) {
    Buffers got(dtype, halves), want(dtype, halves);
    const LoopKernels oracle = ref::device()->loop_kernels({.state = &want.loop,
                                                            .input = want.input.data(),
                                                            .step = &want.step,
                                                            .output = want.output.data(),
                                                            .beside = want.beside.as<float>(),
                                                            .input_dtype = dtype,
                                                            .output_dtype = dtype,
                                                            .images = kImages,
                                                            .channels = kChannels,
                                                            .pixels = kPixels,
                                                            .beside_channels = kBeside,
                                                            .halves = halves});
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
                                dtype);
    const auto finish = make_finish(
        {.state = state, .output = got.output.data(), .count = kValues, .channels = kChannels, .pixels = kPixels, .halves = halves}, dtype);
    const auto stream = ref::device()->stream();
    for (int step = 0; step < 2; ++step) {
      if (bad && step == 1)
        for (Buffers* b : {&got, &want}) b->output.as<float>()[7] = INFINITY;
      oracle.feed->run(*stream);
      host_cuda::run(feed, seed);
      EXPECT_EQ(got.step, 41 + step);
      EXPECT_EQ(want.step, got.step);
      expect_equal(got.input, want.input, "input");
      oracle.finish->run(*stream);
      host_cuda::run(finish, seed);
      host_cuda::run(make_advance(state), seed);
      expect_equal(got.slots, want.slots, "slots");
      EXPECT_EQ(got.loop.row, step + 1);
      EXPECT_EQ(got.loop.bad_row, want.loop.bad_row);
    }
    EXPECT_EQ(got.loop.bad_row, bad ? 1 : -1);
  }
}

TEST(CudaStep, IsTheOracles) {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16})
    for (bool halves : {false, true}) expect_the_oracles(dtype, halves, false);
}

TEST(CudaStep, NotesTheFirstStepThatIsNotFinite) { expect_the_oracles(DType::float32, true, true); }

}  // namespace
}  // namespace vivace::cuda
