// Two ranks, a thread and a device each, that draw one picture: each makes the prediction of one prompt, and both take the same steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>

#include "backends/cuda/collectives.h"
#include "controlled_model.h"
#include "difference.h"
#include "host_device.h"
#include "pipelines/loaded.h"
#include "pipelines/shared_start.h"
#include "runtime/communicator.h"
#include "runtime/request.h"
#include "video_pipelines/random_video_model.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kRanksAssets = std::string(VIVACE_SOURCE_DIR) + "/assets/";
constexpr int kRanksSteps = 2;

CallOptions call_of_ranks(uint64_t seed = 1) {
  return {.height = 16, .width = 16, .num_inference_steps = kRanksSteps, .seed = seed, .output_latent = true};
}

class CudaRanks : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::host_collectives()) GTEST_SKIP() << "this build has no header of NCCL";
    cuda::shared_host_gpu();
    cuda::rank_gpu(0);
  }
  // What each of two ranks has of it, done at once.
  template <class Result>
  static std::pair<Result, Result> of_both(const std::function<Result(int rank)>& what) {
    auto other = std::async(std::launch::async, [&] { return what(1); });
    Result first = what(0);
    return {std::move(first), other.get()};
  }
  static void join(DiffusionPipeline (&pipes)[2]) {
    const std::string id = cuda::rank_gpu(0).device->communicator_id();
    const auto [first, second] =
        of_both<std::shared_ptr<Communicator>>([&](int rank) { return cuda::rank_gpu(rank).device->communicator(id, rank, 2); });
    pipes[0].loaded().ranks = first;
    pipes[1].loaded().ranks = second;
  }
  // The two of a model.
  struct Pair {
    DiffusionPipeline pipes[2];
    Pair(const std::string& model, const PretrainedOptions& options)
        : pipes{DiffusionPipeline::from_pretrained(model, of(options, 0)), DiffusionPipeline::from_pretrained(model, of(options, 1))} {
      join(pipes);
    }
    static PretrainedOptions of(PretrainedOptions options, int rank) {
      options.device = "host-cuda-ranks:" + std::to_string(rank);
      return options;
    }
    std::pair<PipelineOutput, PipelineOutput> operator()(const Prompts& prompt, const CallOptions& call) const {
      return of_both<PipelineOutput>([&](int rank) { return pipes[rank](prompt, call); });
    }
  };
  // Draws by one rank and by two; the pictures of both are the same bits, and what one draws within `off`.
  static void expect_shared(const std::string& model, PretrainedOptions options, const Prompts& prompt, const CallOptions& call, double off) {
    const Pair pair(model, options);
    options.device = "host-cuda";
    const DiffusionPipeline one = DiffusionPipeline::from_pretrained(model, options);
    const PipelineOutput want = one(prompt, call);
    const auto [first, second] = pair(prompt, call);
    EXPECT_EQ(difference(first.latents, second.latents), 0);
    EXPECT_LE(difference(want.latents, first.latents), off);
    for (const PipelineOutput* out : {&first, &second}) {
      EXPECT_EQ(out->counters.loop_break, "");
      EXPECT_EQ(out->counters.loop_host_device_syncs, 0);
    }
    // The negative prompt counts, and is the first rank's alone to make.
    CallOptions other = call;
    other.negative_prompt = "a blue whale";
    EXPECT_GT(difference(first.latents, pair(prompt, other).second.latents), 1e-4);
  }
};

// Rows of a batch are computed one like the other, so the bits are those of one rank.
TEST_F(CudaRanks, HalvesAreThoseOfOneRank) {
  expect_shared(kRanksAssets + "emoji-xl", {.compile = {.mode = CompileMode::reduce_overhead}}, Prompts{"a red apple", "a cat"}, call_of_ranks(), 0);
}

// The exchange is a part of the recorded step.
TEST_F(CudaRanks, PromptsAndSeedsReplayOneRecording) {
  const Pair pair(kRanksAssets + "emoji-xl", {.compile = {.mode = CompileMode::reduce_overhead}});
  CallOptions rescaled = call_of_ranks(2);
  rescaled.guidance_rescale = 0.5;
  pair("a red apple", call_of_ranks());
  const RequestCounters before = process_counters();
  const int64_t captures[] = {cuda::rank_gpu(0).driver->counts().captures, cuda::rank_gpu(1).driver->counts().captures};
  const auto [first, second] = pair("a blue whale", rescaled);
  EXPECT_EQ(difference(first.latents, second.latents), 0);
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(cuda::rank_gpu(rank).driver->counts().captures, captures[rank]) << rank;
  EXPECT_EQ(process_counters().steps_replayed - before.steps_replayed, 2 * kRanksSteps);
}

TEST_F(CudaRanks, ControlNetsReadTheirHalf) {
  const TempFolder folder;
  const std::filesystem::path model = controlled_model(folder);
  CallOptions call = call_of_ranks();
  call.control_image = {test_picture(16, 16)};
  expect_shared(model, {.controlnet = {model / "controlnet"}}, "a red apple", call, 0);
}

// Which one device makes in turn.
TEST_F(CudaRanks, VideosShareTheirTurns) {
  const TempFolder folder;
  CallOptions call = call_of_ranks();
  call.num_frames = 1;
  call.max_sequence_length = 8;
  expect_shared(random_video_model("5b", folder), {}, "a red apple", call, 0);
}

// A communicator of one exchanges with itself.
TEST_F(CudaRanks, OneRankGathersItsOwn) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  cuda::CudaDevice& device = *gpu.device;
  const auto ranks = device.communicator(device.communicator_id(), 0, 1);
  const auto stream = device.stream();
  const float values[] = {1, 2, 3};
  float back[3] = {};
  const auto from = device.allocate(sizeof values), to = device.allocate(sizeof values);
  const auto gather = ranks->all_gather(from.get(), to.get(), sizeof values);
  RequestCounters counters;
  stream->copy_in(from.get(), values, sizeof values);
  stream->launch(*gather);
  stream->copy_out(back, to.get(), sizeof back);
  stream->wait(counters);
  EXPECT_TRUE(std::ranges::equal(back, values));
  ranks->check();
  ranks->abort();
  EXPECT_NE(message_of<UserError>([&] { ranks->check(); }).find("cuda:0: this rank has left the others"), std::string::npos);
  stream->launch(*gather);
  EXPECT_NE(message_of<UserError>([&] { stream->wait(counters); }).find("cuda:0: exchanging predictions: this rank has left the others"),
            std::string::npos);
}

// The other one ends before it has joined. Who comes when it has been missed finds nobody, and both go on.
TEST_F(CudaRanks, OneThatDoesNotJoinIsMissed) {
  RankDevice &first = *cuda::rank_gpu(0).device, &second = *cuda::rank_gpu(1).device;
  const std::string id = first.communicator_id();
  const auto ended = [] { throw UserError("rank 1 has ended"); };
  EXPECT_EQ(message_of<UserError>([&] { first.communicator(id, 0, 2, ended); }), "rank 1 has ended");
  second.communicator(id, 1, 2)->check();
}

class CudaRanksThatEnd : public CudaRanks, public testing::WithParamInterface<CompileMode> {};
INSTANTIATE_TEST_SUITE_P(Modes, CudaRanksThatEnd, testing::Values(CompileMode::off, CompileMode::reduce_overhead));

// The other one ends in the middle of the steps: this one doesn't wait for it for ever, nor for the recordings that have the exchange in them.
TEST_P(CudaRanksThatEnd, AreMissedByTheOther) {
  const auto begin = std::chrono::steady_clock::now();
  Pair pair(kRanksAssets + "emoji-xl", {.compile = {.mode = GetParam()}});
  std::atomic<bool> ended = false;
  for (int rank = 0; rank < 2; ++rank)
    pair.pipes[rank].loaded().ranks->watch = [&, rank] {
      if (rank == 0 && ended) throw UserError("rank 1 has ended");
    };
  const auto said = of_both<std::string>([&](int rank) {
    CallOptions call = call_of_ranks();
    call.num_inference_steps = 6;
    call.callback_on_step_end_tensor_inputs.clear();
    call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState&) {
      if (rank == 1 && step == 3) throw Interrupted("stopped");  // behind some that both have done, before those that the other waits for
    };
    try {
      pair.pipes[rank]("a red apple", call);
    } catch (const Error& error) {
      if (rank == 1) ended = true;
      return std::string(error.what());
    }
    return std::string();
  });
  EXPECT_EQ(said.second, "stopped");
  ASSERT_EQ(said.first, "rank 1 has ended");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(50));
  pair.pipes[0].loaded().ranks->watch = nullptr;
  EXPECT_NE(message_of<UserError>([&] { pair.pipes[0]("a red apple", call_of_ranks()); }).find("this rank has left the others"), std::string::npos);
}

// Whatever each made of the picture it begins with.
TEST_F(CudaRanks, BothBeginWithTheFirstOnesStart) {
  Pair pair(kRanksAssets + "emoji-xl", {});
  const auto starts = of_both<std::vector<float>>([&](int rank) {
    DiffusionPipeline::Loaded& loaded = pair.pipes[rank].loaded();
    Call call = loaded.recipe->resolve("a red apple", call_of_ranks());
    call.ranks = loaded.ranks;
    const std::unique_ptr<Scheduler> scheduler = loaded.parts.scheduler->clone();
    scheduler->set_timesteps(kRanksSteps);
    const auto values = [&](float first) { return Tensor::from({1, 1, 1, 2}, std::vector<float>{first + static_cast<float>(rank), 5}); };
    Start start{.latents = values(1), .kept = {.picture = values(10), .noise = {}, .mask = {}}};
    const Tensor own = start.latents;
    Conditioning conditioning;
    conditioning.beside = values(20);
    Request request;
    share_start(loaded, call, *scheduler, Noise(call_of_ranks(), 1), conditioning, start, request);
    EXPECT_EQ(own.floats()[0], 1 + static_cast<float>(rank)) << "what the caller has is left alone";
    return std::vector<float>{start.latents.floats()[0], start.latents.floats()[1], start.kept.picture.floats()[0], conditioning.beside.floats()[0]};
  });
  EXPECT_EQ(starts.first, (std::vector<float>{1, 5, 10, 20}));
  EXPECT_EQ(starts.second, starts.first);
}

TEST_F(CudaRanks, WhatDiffersIsRefusedByBoth) {
  const auto said_of = [](const Pair& pair, const CallOptions& first, const CallOptions& second) {
    return of_both<std::string>(
        [&](int rank) { return message_of<UserError>([&] { pair.pipes[rank]("a red apple", rank == 0 ? first : second); }); });
  };
  const auto expect_both = [](const std::pair<std::string, std::string>& said, const std::string& what) {
    for (const std::string& one : {said.first, said.second})
      EXPECT_NE(one.find("differ in " + what + ": expected the same program, checkpoint"), std::string::npos) << one;
  };
  Pair pair(kRanksAssets + "emoji-xl", {});
  expect_both(said_of(pair, call_of_ranks(1), call_of_ranks(2)), "arguments");
  CallOptions first = call_of_ranks(), second = call_of_ranks();
  first.latents = Tensor::zeros({1, 4, 2, 2}, DType::float32);
  second.latents = first.latents.clone();
  second.latents.floats()[7] = 1;
  expect_both(said_of(pair, first, second), "given pictures or tensors");

  // The first byte of the first tensor is another one.
  const TempFolder folder;
  const std::filesystem::path changed = folder / "changed";
  std::filesystem::copy(kRanksAssets + "emoji-xl", changed, std::filesystem::copy_options::recursive);
  std::fstream file(changed / "unet" / "diffusion_pytorch_model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  const auto at = static_cast<std::streamoff>(sizeof header + header);
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
  file.close();
  pair.pipes[1] = DiffusionPipeline::from_pretrained(changed, Pair::of({}, 1));
  join(pair.pipes);
  expect_both(said_of(pair, call_of_ranks(), call_of_ranks()), "weights");
}

TEST_F(CudaRanks, RefusesWhereNothingIsShared) {
  Pair pair(kRanksAssets + "emoji-xl", {});
  const DiffusionPipeline& pipe = pair.pipes[0];
  CallOptions unguided = call_of_ranks();
  unguided.guidance_scale = 1;
  EXPECT_NE(message_of<UsageError>([&] { pipe("a red apple", unguided); }).find("this call has no guidance (guidance_scale is 1)"),
            std::string::npos);
  CallOptions watched = call_of_ranks();
  watched.callback_on_step_end = [](const DiffusionPipeline&, int, float, StepState&) {};
  const auto said = of_both<std::string>([&](int rank) { return message_of<UsageError>([&] { pair.pipes[rank]("a red apple", watched); }); });
  for (const std::string& one : {said.first, said.second})
    EXPECT_NE(one.find("here the host takes a part: a callback is given the latents"), std::string::npos) << one;
}

}  // namespace
}  // namespace vivace
