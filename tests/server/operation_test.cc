// What is for those who run the server: the program, systemd, the log, the memory that models take.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <mutex>

#include "../cli/program.h"
#include "base/json.h"
#include "base/log.h"
#include "drawn.h"
#include "encode.h"
#include "process.h"
#include "systemd.h"

namespace vivace::server {
namespace {

TEST(ServerOperation, ALineOfJsonARequest) {
  std::mutex mutex;
  std::vector<std::string> lines;
  {
    const Running running([&](ServerOptions& o) {
      o.log = [&](const std::string& line) {
        const std::lock_guard lock(mutex);
        lines.push_back(line);
      };
    });
    ask(running.port(), "POST", "/v1/images/generations?key=secret", {{"prompt", "a secret"}, {"n", 0}}, {"Authorization: Bearer secret"});
    ask(running.port(), "GET", "/nowhere");
  }
  ASSERT_EQ(lines.size(), 2u);
  const auto line = strict_json(lines[0]);
  EXPECT_EQ(line["method"], "POST");
  EXPECT_EQ(line["path"], "/v1/images/generations");
  EXPECT_EQ(line["status"], 400);
  EXPECT_EQ(line["client"], "127.0.0.1");
  EXPECT_GE(line["seconds"], 0);
  EXPECT_EQ(line["time"].get<std::string>().size(), 20u);
  EXPECT_EQ(strict_json(lines[1])["status"], 404);
  for (const std::string& each : lines) EXPECT_EQ(each.find("secret"), std::string::npos) << each;
}

TEST(ServerOperation, AProxyTellsWhoTheClientIs) {
  // nginx writes the line anew or adds to it, HAProxy adds one: whatever the client said of itself stands before.
  const std::string said = "X-Forwarded-For: 192.0.2.1", also = "X-Forwarded-For: 192.0.2.2, 192.0.2.3";
  for (const auto& [believed, client] : {std::pair(true, "192.0.2.3"), std::pair(false, "127.0.0.1")}) {
    std::string line;
    {
      const Running running([&](ServerOptions& o) {
        o.behind_proxy = believed;
        o.log = [&](const std::string& text) { line = text; };
      });
      ask(running.port(), "GET", "/health", nullptr, {said, also});
    }
    EXPECT_EQ(strict_json(line)["client"], client);
  }
}

// A picture is the one that generate draws by the same words.
TEST(ServerOperation, TheSchedulerMayBeAnotherOne) {
  const TempFolder folder;
  const std::vector<std::string> words{"--scheduler", "dpmpp_2m", "--scheduler-config", R"({"use_karras_sigmas": true})"};
  const std::string plain = (folder / "plain.png").string(), drawn = (folder / "drawn.png").string();
  ASSERT_EQ(vivace(generate(plain)).code, 0);
  ASSERT_EQ(vivace(generate(drawn, words)).code, 0);
  const int port = Running().port();  // which was free a moment ago
  std::vector<std::string> program{VIVACE_PROGRAM,        "serve",  "--quiet",           "--threads", "1", "--model",
                                   tiny_model().string(), "--port", std::to_string(port)};
  program.insert(program.end(), words.begin(), words.end());
  const Process served(program);
  ASSERT_TRUE(eventually([&] {
    Client connection(port, false);
    return connection.send(request_text("GET", "/health")) && connection.read().status == 200;
  }));
  const nlohmann::json body{{"prompt", "a red apple"}, {"num_inference_steps", 3}, {"seed", 7}};
  const Answer answer = ask(port, "POST", "/v1/images/generations", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto pixels = image_of(bytes_of(answer.json()["data"][0]["b64_json"])).pixels();
  EXPECT_EQ(pixels, Image::load(drawn).pixels());
  EXPECT_NE(pixels, Image::load(plain).pixels());
}

TEST(ServerOperation, AModelThatIsNotUsedGoes) {
  const std::string tiny = tiny_model().string();
  const Running running([](ServerOptions& o) { o.model_bytes = 1; }, model_entries({"a=" + tiny, "b=" + tiny}));
  const auto draw = [&](const char* model) {
    const nlohmann::json body{{"prompt", "a red apple"}, {"num_inference_steps", 2}, {"seed", 7}, {"model", model}};
    return ask(running.port(), "POST", "/v1/images/generations", body).json()["data"][0]["b64_json"];
  };
  const auto loaded = [&](const char* model) { return ask(running.port(), "GET", std::string("/v1/models/") + model).json()["loaded"] == true; };
  EXPECT_TRUE(loaded("a"));
  EXPECT_FALSE(loaded("b"));
  const auto right = image_of(bytes_of(draw("a"))).pixels();
  EXPECT_EQ(image_of(bytes_of(draw("b"))).pixels(), right);
  EXPECT_TRUE(eventually([&] { return loaded("b") && !loaded("a"); }));
  EXPECT_EQ(image_of(bytes_of(draw("a"))).pixels(), right);
  EXPECT_TRUE(eventually([&] { return loaded("a") && !loaded("b"); }));
}

// Where systemd would be told.
int socket_of_systemd(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return socket;
}

TEST(ServerOperation, OnASocketThatListensAlready) {
  const int socket = listening_socket(SOCK_CLOEXEC);
  const Running running([&](ServerOptions& o) {
    o.socket = socket;
    o.port = 1;  // which is not looked at
  });
  EXPECT_GT(running.port(), 1);
  EXPECT_EQ(ask(running.port(), "GET", "/health").status, 200);
}

TEST(ServerSystemd, IsTold) {
  const TempFolder folder;
  const int socket = socket_of_systemd(folder / "notify");
  notify("READY=1");  // to nobody
  ::setenv("NOTIFY_SOCKET", (folder / "notify").c_str(), 1);
  notify("STOPPING=1");
  ::unsetenv("NOTIFY_SOCKET");
  char told[64] = "";
  EXPECT_EQ(::recv(socket, told, sizeof told, MSG_DONTWAIT), 10);
  EXPECT_STREQ(told, "STOPPING=1");
  ::close(socket);
  // Sockets are for the process that is named.
  ::setenv("LISTEN_FDS", "2", 1);
  EXPECT_FALSE(inherited_socket());
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_FALSE(inherited_socket());
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_THROW(inherited_socket(), UserError);
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
}

TEST(ServerOperation, TheProgramServesUntilItIsTold) {
  const Finished done =
      vivace({"serve", "--model", tiny_model(), "--port", "0", "--threads", "1"}, {.interrupt_at = "serving tiny at http://127.0.0.1:"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.err.find("--api-key"), std::string::npos) << done.err;
  const Finished open = vivace({"serve", "--model", tiny_model(), "--host", "0.0.0.0", "--port", "0", "--threads", "1"},
                               {.interrupt_at = "serving tiny at http://0.0.0.0:"});
  EXPECT_NE(open.err.find("give --api-key"), std::string::npos) << open.err;
  const Running running;
  expect_refused(vivace({"serve", "--model", tiny_model(), "--port", std::to_string(running.port())}), 1, {"--port", std::to_string(running.port())});
  expect_refused(vivace({"serve", "--model", "/nowhere"}), 1, {"/nowhere", "model_index.json"});
  expect_refused(vivace({"serve", "--model", tiny_model(), "--port", "65536"}), 2, {"--port", "65536"});
  expect_refused(vivace({"serve", "--model", tiny_model(), "--model", tiny_model()}), 2, {"--model", "tiny"});
  expect_refused(vivace({"serve", "--model", tiny_model(), "--result-memory", "much"}), 2, {"--result-memory", "much"});
  expect_refused(vivace({"serve", "--model", tiny_model(), "--recipe", "no-such"}), 2, {"no-such", "flux-fast"});
  expect_refused(vivace({"serve", "--model", tiny_model(), "--textual-inversion", "/nowhere"}), 1, {"/nowhere"});
}

// Which layers are quantised is decided before there is a picture, whether the model's own class begins with one or not.
TEST(ServerOperation, AProgramWithEightBitsEditsPictures) {
  const nlohmann::json body{{"prompt", "a red apple"}, {"seed", 7}, {"steps", 4}, {"denoising_strength", 0.6}, {"init_images", {base64(photo())}}};
  const auto right = image_of(generated({"--seed", "7", "--num-inference-steps", "4", "--strength", "0.6", "--image", photo_file(), "--quantize",
                                         "int8-dynamic", "--quantize-filter", "all"}))
                         .pixels();
  const TempFolder folder;
  for (const std::string& model : {tiny_model().string(), tiny_as(folder, "StableDiffusionXLImg2ImgPipeline")}) {
    const int socket = listening_socket(0);
    const Process program({"bash", "-c",
                           cat("exec env LISTEN_PID=$$ LISTEN_FDS=1 ", VIVACE_PROGRAM,
                               " serve --quiet --threads 2 --port 1 --quantize int8-dynamic --quantize-filter all --model ", model, " 3<&", socket)});
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    // Where the program ends at once, so does the connection that waits to be accepted.
    ::close(socket);
    const Answer answer = ask(ntohs(address.sin_port), "POST", "/sdapi/v1/img2img", body);
    ASSERT_EQ(answer.status, 200) << model << answer.body;
    EXPECT_EQ(image_of(bytes_of(answer.json()["images"][0])).pixels(), right) << model;
  }
}

TEST(ServerSystemd, StartsAndStopsTheProgram) {
  const TempFolder folder;
  const int told = socket_of_systemd(folder / "notify"), socket = listening_socket(0);
  const auto hears = [&](const std::string& what) {
    return eventually([&] {
      char text[64] = "";
      return ::recv(told, text, sizeof text - 1, MSG_DONTWAIT) > 0 && text == what;
    });
  };
  // As systemd does: the socket as the first descriptor, and who it is for.
  Process program({"bash", "-c",
                   cat("exec env LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=", (folder / "notify").string(), ' ', VIVACE_PROGRAM,
                       " serve --quiet --threads 1 --port 1 --model ", tiny_model().string(), " 3<&", socket)});
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  // Nobody is refused before it serves.
  Client early(ntohs(address.sin_port));
  early.send(request_text("GET", "/health"));
  EXPECT_TRUE(hears("READY=1"));
  EXPECT_EQ(early.read().status, 200);
  program.send(SIGTERM);
  EXPECT_TRUE(hears("STOPPING=1"));
  EXPECT_EQ(program.wait(), 0);
  ::close(told);
  ::close(socket);
}

}  // namespace
}  // namespace vivace::server
