// What comes over a connection, any bytes: the server answers with HTTP, or closes, and serves the next one.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "http/http_server.h"

using namespace vivace::server;
using namespace std::chrono_literals;

namespace {

// Answers with what it understood, as events where it is asked for those.
void handle(const Request& request, const std::shared_ptr<Reply>& reply) {
  (void)request.parameter("x");
  if (request.path != "/events") return reply->send({.body = request.method + ' ' + request.path + '\n' + request.body});
  reply->begin_events(false);
  reply->event("body", std::to_string(request.body.size()), true);
  reply->end_events();
}

HttpServer& server() {
  static HttpServer* const running = [] {
    const HttpLimits limits{.header_bytes = 4096, .head = 50ms, .body = 50ms, .write = 1000ms, .comment = 20ms};
    auto* made =
        new HttpServer("127.0.0.1", 0, limits,
                       {.admit = [](const Request& head, size_t& limit) -> std::optional<Response> {
                          limit = 1 << 16;
                          if (head.path == "/refused") return Response{.status = 404};
                          return std::nullopt;
                        },
                        .handle = handle,
                        .refuse = [](const Request&, int status, const std::string& what) { return Response{.status = status, .body = what}; },
                        .done = [](const Request&, int, double) {}});
    std::thread([made] { made->run(); }).detach();
    return made;
  }();
  return *running;
}

int connected() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(server().port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const linger at_once{1, 0};  // no port stays taken
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  return socket;
}

std::string answer_to(const std::string& bytes, bool more_may_come) {
  const int socket = connected();
  (void)!::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (!more_may_come) ::shutdown(socket, SHUT_WR);
  std::string answer;
  char part[4096];
  for (ssize_t n = 0; (n = ::recv(socket, part, sizeof part, 0)) > 0;) answer.append(part, static_cast<size_t>(n));
  ::close(socket);
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string answer = answer_to(std::string(reinterpret_cast<const char*>(data), size), false);
  if (!answer.empty() && !answer.starts_with("HTTP/1.1 ")) std::abort();
  static int inputs = 0;
  if (++inputs % 256 == 0 && !answer_to("GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", true).ends_with("GET /x\n")) std::abort();
  return 0;
}
