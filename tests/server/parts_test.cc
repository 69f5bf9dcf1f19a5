// Parts of the server, alone.
#include <future>
#include <thread>

#include "../cli/program.h"
#include "admission.h"
#include "base/files.h"
#include "base/joined.h"
#include "client.h"
#include "decode.h"
#include "encode.h"
#include "http/multipart.h"
#include "job_queue.h"
#include "metrics.h"
#include "webp.h"
#include "worker.h"

namespace vivace::server {
namespace {

TEST(ServerQueue, ClientsTakeTurns) {
  using Pushed = JobQueue::Pushed;
  JobQueue queue(10, 4);
  const auto push = [&](const char* client, const char* name) { return queue.push(std::make_shared<Job>(name, client, Drawing{.seeds = {1}})); };
  for (const char* name : {"a1", "a2", "a3", "a4"}) EXPECT_EQ(push("a", name), Pushed::yes);
  EXPECT_EQ(push("a", "a5"), Pushed::full_for_client);
  for (const char* name : {"b1", "b2"}) EXPECT_EQ(push("b", name), Pushed::yes);
  std::vector<std::string> order;
  for (int i = 0; i < 3; ++i) order.push_back(queue.take().at(0)->id);
  EXPECT_EQ(push("c", "c1"), Pushed::yes);
  while (queue.size() > 0) order.push_back(queue.take().at(0)->id);
  EXPECT_EQ(joined(order), "a1, b1, a2, b2, a3, c1, a4");
  for (const char* client : {"d", "e", "f", "g", "h", "i", "j", "k", "l", "m"}) EXPECT_EQ(push(client, client), Pushed::yes);
  EXPECT_EQ(push("n", "n"), Pushed::full);
  EXPECT_EQ(queue.close().size(), 10u);
  EXPECT_EQ(push("a", "a7"), Pushed::closed);
  EXPECT_TRUE(queue.take().empty());
}

TEST(ServerQueue, TheMostUrgentGoFirst) {
  JobQueue queue(10, 10);
  std::vector<std::shared_ptr<Job>> jobs;
  const auto push = [&](const char* client, const char* name, int urgency) {
    jobs.push_back(std::make_shared<Job>(name, client, Drawing{.seeds = {1}}, urgency));
    queue.push(jobs.back());
  };
  push("a", "a1", 3);
  push("a", "a2", 7);
  push("b", "b1", 3);
  push("b", "b2", 0);
  push("a", "a3", 0);
  std::vector<size_t> positions;
  for (const auto& job : jobs) positions.push_back(queue.position(*job).value());
  EXPECT_EQ(positions, (std::vector<size_t>{2, 4, 3, 0, 1}));
  EXPECT_TRUE(queue.remove(*jobs[2]));
  EXPECT_FALSE(queue.remove(*jobs[2]));
  std::vector<std::string> order;
  while (queue.size() > 0) order.push_back(queue.take().at(0)->id);
  EXPECT_EQ(joined(order), "b2, a3, a1, a2");
  // Those who hold the key say so, and nobody else.
  const auto urgency = [](const std::string& header, const std::string& key) {
    return urgency_of({.headers = {{"priority", header}, {"authorization", "Bearer " + key}}}, "secret");
  };
  EXPECT_EQ(urgency("u=1, i", "secret"), 1);
  EXPECT_EQ(urgency("i, u=7", "secret"), 7);
  for (const char* header : {"u=9", "u=", "i", ""}) EXPECT_EQ(urgency(header, "secret"), 3) << header;
  EXPECT_EQ(urgency("u=0", "other"), 3);
  EXPECT_EQ(urgency_of({.headers = {{"priority", "u=0"}, {"authorization", "Bearer "}}}, ""), 3);
}

TEST(ServerQueue, WhatIsAlikeIsTakenTogether) {
  JobQueue queue(20, 20);
  const auto push = [&](const char* client, const char* name, int steps, size_t pictures) {
    Drawing drawing{.prompt = name, .seeds = std::vector<uint64_t>(pictures)};
    drawing.call.num_inference_steps = steps;
    queue.push(std::make_shared<Job>(name, client, drawing));
  };
  push("a", "a1", 4, 1);
  push("a", "a2", 5, 1);
  push("a", "a3", 4, 2);
  push("b", "b1", 4, 1);
  push("c", "c1", 4, 3);
  push("c", "c2", 4, 1);
  const auto take = [&](size_t most) { return joined(queue.take(most), ", ", [](const auto& job) { return job->id; }); };
  EXPECT_EQ(take(4), "a1, b1, c2");  // a3 would be one too many beside b1, whose turn is earlier
  EXPECT_EQ(take(1), "c1");          // alone, though it has more pictures than one
  EXPECT_EQ(take(4), "a2");
  EXPECT_EQ(take(4), "a3");
  EXPECT_EQ(queue.size(), 0u);
}

TEST(ServerQueue, PicturesThatWaitTakeOnlySoMuch) {
  using Pushed = JobQueue::Pushed;
  JobQueue queue(10, 10, 100);
  const auto push = [&](int side) {
    Drawing drawing{.seeds = {1}};
    if (side > 0) drawing.call.image = Image::from_tensor(Tensor::zeros({side, side, 3}));
    return queue.push(std::make_shared<Job>("id", "client", drawing));
  };
  EXPECT_EQ(push(3), Pushed::yes) << "108 bytes, and alone";
  EXPECT_EQ(push(1), Pushed::full_of_pictures);
  EXPECT_EQ(push(0), Pushed::yes);
  (void)queue.take();
  EXPECT_EQ(push(2), Pushed::yes);  // 48
  EXPECT_EQ(push(2), Pushed::yes);
  EXPECT_EQ(push(1), Pushed::full_of_pictures);
}

TEST(ServerMetrics, ASumThatHasGrownGoesOnGrowing) {
  Metrics metrics;
  for (const double seconds : {1234567.0, 0.25}) metrics.step(seconds);
  EXPECT_NE(metrics.text({}).find("\nvivace_step_seconds_sum 1234567.25\n"), std::string::npos) << metrics.text({});
}

TEST(ServerJob, AListenerThatFailsIsItsOwnMatter) {
  Job job("id", "client", Drawing{.seeds = {1}});
  std::vector<JobEvent> heard;
  job.listen([](const Job&, JobEvent) { throw std::bad_alloc(); });
  job.listen([&](const Job&, JobEvent event) { heard.push_back(event); });
  job.start();
  job.fail({500, "x", ""});
  EXPECT_EQ(heard, (std::vector<JobEvent>{JobEvent::started, JobEvent::ended}));
}

TEST(ServerWorker, DoesOneThingAfterAnotherAndTakesNoMoreThanFits) {
  std::vector<int> done;
  {
    std::promise<void> begun, go_on, all;
    Worker worker(10);
    const auto push = [&](size_t bytes, int number, bool however_full = false) {
      return worker.push(
          bytes, [&done, number] { done.push_back(number); }, however_full);
    };
    ASSERT_TRUE(worker.push(4, [&] {
      begun.set_value();
      go_on.get_future().wait();
    }));
    begun.get_future().wait();
    EXPECT_TRUE(push(20, 1)) << "alone";
    EXPECT_FALSE(push(1, 2));
    EXPECT_TRUE(push(1, 3, true));
    go_on.set_value();
    while (!worker.push(0, [&] { all.set_value(); })) std::this_thread::yield();
    all.get_future().wait();
    EXPECT_EQ(done, (std::vector<int>{1, 3}));
    EXPECT_TRUE(push(4, 4));
  }
  EXPECT_LE(done.size(), 3u);  // what waits at the end may be dropped
}

TEST(ServerModels, TheOneNotUsedForLongestGoes) {
  const std::string tiny = tiny_model().string();
  Models models(model_entries({"a=" + tiny, "b=" + tiny}), load_model, 1);
  models.load("a")->pipe()("x", {.num_inference_steps = 1});
  models.keep_within_budget("a");
  EXPECT_TRUE(models.loaded("a"));  // the one in use stays
  models.load("b")->pipe()("x", {.num_inference_steps = 1});
  models.keep_within_budget("b");
  EXPECT_FALSE(models.loaded("a"));
  EXPECT_TRUE(models.loaded("b"));
  EXPECT_GT(models.bytes(), 0u);
  EXPECT_THROW(model_entries({tiny, tiny}), UsageError);
  EXPECT_THROW(model_entries({"/nowhere"}), UserError);
}

TEST(ServerForms, PartsAsTheyAreSent) {
  const auto parts = [](const std::string& body, const std::string& type = "multipart/form-data; boundary=\"b:1\"") {
    return parse_multipart(type, body);
  };
  const std::string body =
      "whatever\r\n--b:1  \r\nContent-Disposition: form-data; name=prompt\r\n\r\na\r\n--b\r\n"
      "--b:1\r\nX: y\r\ncontent-disposition: form-data; filename=\"a;\\\"b\\\".png\"; name=\"image[]\"\r\n\r\n\r\n--b:1--\r\nrest";
  const std::vector<FormPart> read = parts(body);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].name, "prompt");
  EXPECT_EQ(read[0].data, "a\r\n--b");
  EXPECT_EQ(read[1].name, "image[]");
  EXPECT_EQ(form_name(read[1]), "image");
  EXPECT_EQ(read[1].filename, "a;\"b\".png");
  EXPECT_EQ(read[1].data, "");
  EXPECT_TRUE(parts("--b:1--").empty());
  EXPECT_EQ(parts("\r\n" + body.substr(body.find("--b:1"))).size(), 2u);  // before it, nothing but the end of a line
  EXPECT_TRUE(is_multipart("Multipart/Form-Data; boundary=x"));
  EXPECT_FALSE(is_multipart("application/json"));
  for (const std::string& wrong :
       {std::string(""), std::string("--b:1"), std::string("--b:1\r\n\r\nx\r\n--b:1--"), body.substr(0, 60), body.substr(0, body.size() - 8)})
    EXPECT_THROW(parts(wrong), UsageError) << wrong;
  EXPECT_THROW(parts(body, "multipart/form-data"), UsageError);
  std::string many;
  for (int i = 0; i < 65; ++i) many += "--b:1\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n";
  EXPECT_THROW(parts(many + "--b:1--"), UsageError);
}

TEST(ServerMasks, WhatIsTransparentIsWhite) {
  // 2 x 1 pixels, the left one transparent; and a palette whose second colour is.
  const std::string alpha = from_base64("iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAEUlEQVR4nGPkEpFjkJOT+w8AA68Bl/LMqe4AAAAASUVORK5CYII=", "x");
  EXPECT_EQ(decoded_mask(alpha, "x", 100).pixels(), (std::vector<uint8_t>{255, 255, 255, 0, 0, 0}));
  EXPECT_EQ(decoded_picture(alpha, "x", 100).pixels(), (std::vector<uint8_t>{10, 20, 30, 40, 50, 60}));
  const std::string webp = from_base64("UklGRiAAAABXRUJQVlA4TBQAAAAvAQAAEA9wCo8reNRj/gNHBSL6Hw==", "x");
  EXPECT_EQ(decoded_mask(webp, "x", 100).pixels(), (std::vector<uint8_t>{255, 255, 255, 0, 0, 0}));
  // Opaque ones say it in black and white.
  const std::string opaque = from_base64("iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAYAAAD0In+KAAAAEUlEQVR4nGP4////fwYGhv8AGu4E/Aeot4AAAAAASUVORK5CYII=", "x");
  EXPECT_EQ(decoded_mask(opaque, "x", 100).pixels(), (std::vector<uint8_t>{255, 255, 255, 0, 0, 0}));
  EXPECT_EQ(inverted(decoded_mask(opaque, "x", 100)).pixels(), (std::vector<uint8_t>{0, 0, 0, 255, 255, 255}));
  EXPECT_THROW(decoded_mask(alpha, "x", 1), UsageError);
  // Of sides whose product would be a small number again in 64 bits.
  std::string huge = alpha;
  huge.replace(16, 8, 8, '\xff');
  EXPECT_NE(message_of<UsageError>([&] { decoded_mask(huge, "x", INT64_MAX / 4); }).find("damaged PNG"), std::string::npos);
}

TEST(ServerPictures, AreOfNoMorePixelsThanAsked) {
  const std::string whole = read_file(VIVACE_SOURCE_DIR "/tests/image/data/rgb_444.jpg");  // 18 x 13
  // A marker without a length, and one after which that length would lead to a frame of 8 x 8, behind the picture.
  const std::string rest = whole.substr(2);
  const size_t size = rest.size() + 2;
  const std::string length{static_cast<char>(size >> 8), static_cast<char>(size)};
  const std::string two_frames = "\xff\xd8\xff\x01" + length + rest + std::string("\xff\xc0\0\x11\x08\0\x08\0\x08\x03\0\0\0\0", 14);
  EXPECT_EQ(decoded_picture(two_frames, "x", 18 * 13).pixels(), decoded_picture(whole, "x", 18 * 13).pixels());
  const std::string webp = from_base64("UklGRiAAAABXRUJQVlA4TBQAAAAvAQAAEA9wCo8reNRj/gNHBSL6Hw==", "x");
  for (const std::string& file : {whole, two_frames, webp})
    for (const auto read : {decoded_picture, decoded_mask}) {
      const int64_t pixels = file == webp ? 2 : 18 * 13;
      EXPECT_FALSE(read(file, "x", pixels).empty());
      EXPECT_NE(message_of<UsageError>([&] { read(file, "x", pixels - 1); }).find("pixels: at most"), std::string::npos);
    }
  EXPECT_NE(message_of<UsageError>([] { decoded_picture("GIF89a", "x", 100); }).find("x is no picture"), std::string::npos);
}

TEST(ServerEncode, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("\xff\xfe\xfd\xfc"), "//79/A==");
  for (const char* text : {"", "Zg==", "Zg", "Zm8=", "Zm9v", "//79/A=="}) {
    const std::string bytes = from_base64(text, "x");
    EXPECT_TRUE(base64(bytes).starts_with(text)) << text;
  }
  EXPECT_EQ(from_base64("data:image/png;base64,Zm9v", "x"), "foo");
  for (const char* wrong : {"Z", "Zg===", "Zg==x", "Zm 9v", "Zm\n9v"}) EXPECT_THROW(from_base64(wrong, "x"), UsageError) << wrong;
}

}  // namespace
}  // namespace vivace::server
