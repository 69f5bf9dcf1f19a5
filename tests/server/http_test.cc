// What comes over the wire, whatever it is: limits, garbage, keys, pages of others, clients that go, shutting down.
#include "../cli/program.h"
#include "base/json.h"
#include "drawn.h"
#include "encode.h"

namespace vivace::server {
namespace {

using namespace std::chrono_literals;

const nlohmann::json kQuick{{"prompt", "a red apple"}, {"num_inference_steps", 2}, {"seed", 7}};
// Takes long enough to be stopped.
const nlohmann::json kLong{{"prompt", "a red apple"}, {"num_inference_steps", 1000}, {"seed", 7}};

TEST(ServerHttp, OneConnectionCarriesManyRequests) {
  const Running running;
  Client connection(running.port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(connection.send(request_text("GET", "/health")));
    const Answer answer = connection.read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.has_header("Connection: keep-alive"));
    EXPECT_EQ(answer.json()["status"], "ok");
  }
  // Two at once are answered in order.
  connection.send(request_text("GET", "/health") + request_text("GET", "/nowhere"));
  EXPECT_EQ(connection.read().status, 200);
  EXPECT_EQ(connection.read().status, 404);
  // HEAD is GET without a body.
  connection.send(request_text("HEAD", "/health") + request_text("GET", "/ready"));
  ASSERT_TRUE(connection.read_until("\r\n\r\n"));
  EXPECT_TRUE(connection.read_until("\"ready\""));
}

TEST(ServerHttp, WhatIsNoRequestIsRefused) {
  const Running running([](ServerOptions& o) {
    o.http.head = 300ms;
    o.http.body = 300ms;
  });
  const auto answer_to = [&](const std::string& bytes) {
    Client connection(running.port());
    connection.send(bytes);
    return connection.read();
  };
  EXPECT_EQ(answer_to("\x16\x03\x01 hello\r\n\r\n").status, 400);
  EXPECT_EQ(answer_to("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n").status, 400);
  EXPECT_EQ(answer_to("GET /health HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(answer_to("POST /jobs HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n").status, 413);
  EXPECT_EQ(answer_to("POST /jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n").status, 413);
  EXPECT_EQ(answer_to("POST /jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n").status, 400);
  // A body that does not come, and a head that does not end.
  EXPECT_EQ(answer_to("POST /jobs HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"prompt\"").status, 408);
  Client slow(running.port());
  slow.send("GET /hea");
  EXPECT_TRUE(slow.closed_by_server());
  // Half a body, and gone.
  { Client(running.port()).send("POST /jobs HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"prompt\""); }
  const Answer wrong = ask(running.port(), "PUT", "/health");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_TRUE(wrong.has_header("Allow: GET"));
  // And a body that waits to be asked for.
  Client asked(running.port());
  asked.send("POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  ASSERT_TRUE(asked.read_until("100 Continue\r\n\r\n"));
  asked.send("{}");
  EXPECT_EQ(asked.read().status, 400);  // no prompt
  // One without a body is not asked for it.
  Client nothing(running.port());
  nothing.send(request_text("GET", "/health", "", {"Expect: 100-continue"}));
  ASSERT_TRUE(nothing.read_until("\r\n\r\n"));
  EXPECT_EQ(nothing.seen().find("100 Continue"), std::string::npos);
  EXPECT_EQ(ask(running.port(), "GET", "/health").status, 200);
}

TEST(ServerHttp, AClientThatReadsNothingHoldsNobodyUp) {
  const Running running;
  Client reads_nothing(running.port());
  reads_nothing.send(request_text("GET", "/health"));
  ASSERT_EQ(reads_nothing.read().status, 200);
  reads_nothing.send("POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n");
  for (int i = 0; i < 5; ++i) {  // what it sends tells of room that is left in its buffer
    reads_nothing.fill_what_it_sends();
    reads_nothing.send("X: y\r\n");
  }
  reads_nothing.fill_what_it_sends();
  reads_nothing.send("Content-Length: 2\r\n\r\n");
  std::this_thread::sleep_for(50ms);  // it is to be read before what follows is
  EXPECT_EQ(ask(running.port(), "GET", "/health").status, 200);
}

TEST(ServerHttp, TooManyConnectionsAreTurnedAway) {
  const Running running([](ServerOptions& o) { o.http.connections = 2; });
  Client one(running.port()), two(running.port());
  one.send(request_text("GET", "/health"));
  two.send(request_text("GET", "/health"));
  EXPECT_EQ(one.read().status, 200);
  EXPECT_EQ(two.read().status, 200);
  Client three(running.port());
  EXPECT_EQ(three.read().status, 503);
  one.close();
  EXPECT_TRUE(eventually([&] { return ask(running.port(), "GET", "/health").status == 200; }));
}

TEST(ServerHttp, AKeyIsAskedFor) {
  const Running running([](ServerOptions& o) { o.api_key = "secret"; });
  const auto with = [&](const Lines& headers) { return ask(running.port(), "GET", "/v1/models", nullptr, headers).status; };
  const Answer refused = ask(running.port(), "GET", "/v1/models");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(with({"Authorization: Bearer secret"}), 200);
  EXPECT_EQ(with({"Authorization: Basic eDpzZWNyZXQ="}), 200);  // x:secret
  for (const char* wrong : {"Bearer secre", "Bearer secrets", "Bearer ", "Basic ", "Basic c2VjcmV0Og==", "secret"})
    EXPECT_EQ(with({std::string("Authorization: ") + wrong}), 401) << wrong;
  // Before the body is sent.
  Client connection(running.port());
  connection.send("POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n");
  EXPECT_EQ(connection.read().status, 401);
  EXPECT_EQ(ask(running.port(), "GET", "/health").status, 200);
}

TEST(ServerHttp, PagesOfOthersMayNotCall) {
  const Running running([](ServerOptions& o) { o.cors_origins = {"https://friend.example"}; });
  const auto post = [&](const Lines& headers) { return ask(running.port(), "POST", "/jobs", nlohmann::json::object(), headers); };
  EXPECT_EQ(post({"Origin: https://evil.example"}).status, 403);
  EXPECT_EQ(post({"Origin: http://127.0.0.1"}).status, 400);  // its own: the body is at fault
  const Answer friendly = post({"Origin: https://friend.example"});
  EXPECT_EQ(friendly.status, 400);
  EXPECT_TRUE(friendly.has_header("Access-Control-Allow-Origin: https://friend.example"));
  EXPECT_TRUE(ask(running.port(), "OPTIONS", "/jobs", nullptr, {"Origin: https://friend.example"})
                  .has_header("Access-Control-Allow-Origin: https://friend.example"));
  EXPECT_TRUE(friendly.has_header("Access-Control-Expose-Headers: Location, Retry-After"));
  EXPECT_TRUE(ask(running.port(), "OPTIONS", "/v1/images/generations", nullptr,
                  {"Origin: https://friend.example", "Access-Control-Request-Headers: authorization,x-stainless-os"})
                  .has_header("Access-Control-Allow-Headers: authorization,x-stainless-os"));
  EXPECT_EQ(ask(running.port(), "OPTIONS", "/jobs", nullptr, {"Origin: https://evil.example"}).head.find("Allow-Origin"), std::string::npos);
  // What is too large, which the route never sees, it may read too.
  Client large(running.port());
  large.send("POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://friend.example\r\nContent-Length: 99999999\r\n\r\n");
  const Answer refused = large.read();
  EXPECT_EQ(refused.status, 413);
  EXPECT_TRUE(refused.has_header("Access-Control-Allow-Origin: https://friend.example"));
  // A name that somebody resolves to 127.0.0.1.
  Client connection(running.port());
  connection.send("GET /v1/models HTTP/1.1\r\nHost: evil.example:7860\r\n\r\n");
  EXPECT_EQ(connection.read().status, 403);
}

TEST(ServerHttp, AFullQueueSaysWhenToComeBack) {
  const Running running([](ServerOptions& o) {
    o.engine.queue = 3;
    o.engine.queue_of_a_client = 2;
  });
  const std::string first = ask(running.port(), "POST", "/jobs", kLong).json()["id"];
  ASSERT_TRUE(eventually([&] { return ask(running.port(), "GET", "/jobs/" + first).json()["status"] == "running"; }));
  EXPECT_EQ(ask(running.port(), "POST", "/jobs", kLong).json()["jobs_before"], 0);
  EXPECT_EQ(ask(running.port(), "POST", "/jobs", kLong).json()["jobs_before"], 1);
  const Answer full = ask(running.port(), "POST", "/v1/images/generations", kQuick);
  EXPECT_EQ(full.status, 429);
  EXPECT_NE(full.head.find("Retry-After: "), std::string::npos);
  EXPECT_EQ(full.json()["error"]["type"], "rate_limit_error");
  EXPECT_EQ(metric(running.port(), "vivace_queue_jobs"), 2);
}

TEST(ServerHttp, WhatIsDrawnTogetherIsWhatIsDrawnAlone) {
  const Running running([](ServerOptions& o) { o.engine.batch = 4; });
  const auto body = [](const char* prompt, int seed, int n) {
    return nlohmann::json{{"prompt", prompt}, {"negative_prompt", "blue"}, {"num_inference_steps", 3}, {"seed", seed},
                          {"n", n},           {"output_format", "png"}};
  };
  const auto pictures = [](const Answer& answer) {
    std::vector<std::vector<uint8_t>> all;
    const nlohmann::json made = answer.json();
    for (const auto& one : made["data"]) all.push_back(image_of(bytes_of(one["b64_json"])).pixels());
    return all;
  };
  struct Request {
    nlohmann::json body;
    std::vector<std::vector<uint8_t>> alone = {};
  };
  std::vector<Request> requests{{body("a red apple", 1, 1)}, {body("a rocket", 2, 2)}, {body("", 9, 1)}};
  // One after the other, and by a server that draws each picture alone.
  for (Request& request : requests) request.alone = pictures(post("/v1/images/generations", request.body));
  // Behind one that takes long, so that all of them wait together; of one the client goes.
  Client first(running.port());
  first.send(request_text("POST", "/v1/images/generations", json_text(kLong)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_running_jobs") == 1; }));
  std::vector<std::unique_ptr<Client>> clients;
  for (const Request& request : requests) {
    clients.push_back(std::make_unique<Client>(running.port()));
    clients.back()->send(request_text("POST", "/v1/images/generations", json_text(request.body)));
  }
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_queue_jobs") == 3; }));
  const double before = metric(running.port(), "vivace_step_seconds_count");
  first.close();
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto together = pictures(clients[i]->read());
    ASSERT_EQ(together.size(), requests[i].alone.size());
    for (size_t j = 0; j < together.size(); ++j) EXPECT_EQ(together[j], requests[i].alone[j]) << i << ' ' << j;
  }
  EXPECT_LT(metric(running.port(), "vivace_step_seconds_count") - before, 20) << "three steps for all four, and few of the one before";
}

TEST(ServerHttp, OneOfABatchGoesAndTheOthersStay) {
  const Running running([](ServerOptions& o) { o.engine.batch = 2; });
  const auto body = [](const char* prompt) { return nlohmann::json{{"prompt", prompt}, {"num_inference_steps", 400}, {"seed", 1}}; };
  Client first(running.port());
  first.send(request_text("POST", "/v1/images/generations", json_text(kLong)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_running_jobs") == 1; }));
  Client stays(running.port());
  stays.send(request_text("POST", "/v1/images/generations", json_text(body("stays"))));
  const std::string goes = "/jobs/" + ask(running.port(), "POST", "/jobs", body("goes")).json()["id"].get<std::string>();
  first.close();
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_running_jobs") == 2; }));
  ask(running.port(), "DELETE", goes);
  ASSERT_TRUE(eventually([&] { return ask(running.port(), "GET", goes).json()["status"] == "cancelled"; }));
  EXPECT_EQ(metric(running.port(), "vivace_running_jobs"), 2);  // before the end of the other
  EXPECT_EQ(stays.read().status, 200);
}

TEST(ServerHttp, AClientThatGoesStopsItsJob) {
  const Running running;
  Client gone(running.port());
  gone.send(request_text("POST", "/v1/images/generations", json_text(kLong)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_step_seconds_count") > 2; }));
  const auto begin = std::chrono::steady_clock::now();
  gone.close();
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_running_jobs") == 0; }));
  // 100 ms on a machine with nothing else to do; a kernel of this model takes less than a millisecond.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  EXPECT_EQ(metric(running.port(), "vivace_jobs_total{state=\"cancelled\"}"), 1);
  EXPECT_LT(metric(running.port(), "vivace_step_seconds_count"), 1000);
  EXPECT_EQ(metric(running.port(), "vivace_requests_total{route=\"/v1/images/generations\",status=\"499\"}"), 1);
  EXPECT_EQ(ask(running.port(), "POST", "/v1/images/generations", kQuick).status, 200);
}

TEST(ServerHttp, CommentsKeepAStreamAlive) {
  const Running running([](ServerOptions& o) { o.http.comment = 30ms; });
  Client first(running.port()), waits(running.port());
  first.send(request_text("POST", "/v1/images/generations", json_text(kLong)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_running_jobs") == 1; }));
  nlohmann::json stream = kQuick;
  stream["stream"] = true;
  waits.send(request_text("POST", "/v1/images/generations", json_text(stream)));
  // Before there is anything to be told.
  EXPECT_TRUE(waits.read_until(": keep-alive\n\n"));
  EXPECT_EQ(waits.seen().find("event: "), std::string::npos);
  first.close();
  EXPECT_TRUE(waits.read_until("event: image_generation.completed"));
}

TEST(ServerHttp, AJobThatTakesTooLongIsStopped) {
  const Running running([](ServerOptions& o) { o.engine.job_seconds = 0.3; });
  EXPECT_EQ(ask(running.port(), "POST", "/v1/images/generations", kLong).status, 504);
}

TEST(ServerHttp, ShuttingDownFinishesWhatIsDrawnAndHandsBackTheRest) {
  Running running([](ServerOptions& o) { o.shutdown_seconds = 60; });
  nlohmann::json drawn = kQuick;
  drawn["num_inference_steps"] = 100;
  Client first(running.port()), second(running.port());
  first.send(request_text("POST", "/v1/images/generations", json_text(drawn)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_step_seconds_count") > 0; }));
  second.send(request_text("POST", "/v1/images/generations", json_text(drawn)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_queue_jobs") == 1; }));
  running.server().shutdown();
  const Answer handed_back = second.read();
  EXPECT_EQ(handed_back.status, 503);
  EXPECT_TRUE(handed_back.has_header("Retry-After: 5"));
  EXPECT_EQ(first.read().status, 200);
  running.join();
}

TEST(ServerHttp, ShuttingDownWaitsOnlySoLong) {
  Running running([](ServerOptions& o) { o.shutdown_seconds = 0.2; });
  Client first(running.port());
  first.send(request_text("POST", "/v1/images/generations", json_text(kLong)));
  ASSERT_TRUE(eventually([&] { return metric(running.port(), "vivace_step_seconds_count") > 0; }));
  running.server().shutdown();
  EXPECT_EQ(first.read().status, 503);
  running.join();
}

TEST(ServerHttp, ShuttingDownDoesNotWaitForWhoReadsNothing) {
  const TempFolder folder;
  write_text(folder / "report", "");
  std::filesystem::resize_file(folder / "report", 64 << 20);  // more than sockets hold
  Running running([&](ServerOptions& o) {
    o.report = folder / "report";
    o.shutdown_seconds = 0.2;
  });
  Client client(running.port());
  client.send(request_text("GET", "/report"));
  ASSERT_TRUE(client.read_until("200 OK"));
  const auto begin = std::chrono::steady_clock::now();
  running.server().shutdown();
  running.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);  // and not the 30 s that each piece may take
}

// A black picture in base64, of a few bytes: reading it takes a while.
std::string large_picture() {
  const std::vector<uint8_t> file = Image::from_tensor(Tensor::zeros({4096, 4096, 3})).png();
  return base64({reinterpret_cast<const char*>(file.data()), file.size()});
}

TEST(ServerHttp, APictureThatTakesLongToReadHoldsNobodyUp) {
  const Running running;
  const std::string file = large_picture();
  Client brings(running.port()), other(running.port());
  // Read, and then refused.
  brings.send(request_text("POST", "/jobs", nlohmann::json{{"prompt", "x"}, {"image", file}, {"mask_image", file}, {"strength", 2}}.dump()));
  std::this_thread::sleep_for(50ms);
  other.send(request_text("GET", "/health"));
  EXPECT_EQ(other.read().status, 200);
  EXPECT_FALSE(brings.has_more());
  EXPECT_EQ(brings.read().status, 400);
}

TEST(ServerHttp, AClientThatGoesWhileItsPictureIsReadStopsItsJob) {
  const Running running;
  Client gone(running.port());
  gone.send(request_text("POST", "/sdapi/v1/img2img",
                         nlohmann::json{{"prompt", "x"}, {"init_images", {large_picture()}}, {"width", 32}, {"height", 32}, {"steps", 1000}}.dump()));
  gone.close();
  EXPECT_TRUE(eventually([&] { return metric(running.port(), "vivace_jobs_total{state=\"cancelled\"}") == 1; }));
  EXPECT_EQ(metric(running.port(), "vivace_kept_jobs"), 0);
}

}  // namespace
}  // namespace vivace::server
