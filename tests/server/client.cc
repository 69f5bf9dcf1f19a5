#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../cli/program.h"
#include "base/json.h"
#include "base/log.h"
#include "pipelines/loaded.h"

namespace vivace::server {

bool Answer::has_header(const std::string& line) const {
  for (size_t at = 0; at < head.size();) {
    const size_t end = std::min(head.find("\r\n", at), head.size());
    if (::strcasecmp(head.substr(at, end - at).c_str(), line.c_str()) == 0) return true;
    at = end + 2;
  }
  return false;
}

nlohmann::json Answer::json() const { return strict_json(body); }

Client::Client(int port, bool must_connect) {
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{60, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && must_connect) ADD_FAILURE() << "no connection";
}

Client::~Client() { close(); }

void Client::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

bool Client::send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool Client::more() {
  char part[16384];
  const ssize_t n = ::recv(socket_, part, sizeof part, 0);
  if (n <= 0) return false;
  buffer_.append(part, static_cast<size_t>(n));
  return true;
}

bool Client::read_until(const std::string& text) {
  while (buffer_.find(text) == std::string::npos)
    if (!more()) return false;
  return true;
}

bool Client::closed_by_server() {
  while (more()) {
  }
  char byte;
  return ::recv(socket_, &byte, 1, 0) == 0;
}

bool Client::has_more() const {
  pollfd socket{socket_, POLLIN, 0};
  return ::poll(&socket, 1, 0) > 0;
}

void Client::fill_what_it_sends() const {
  sockaddr_in own{}, peer{};
  socklen_t size = sizeof own;
  ::getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &size);
  const std::string bytes(1 << 16, 'x');
  for (int file = 0; file < 1024; ++file) {
    size = sizeof peer;
    if (::getpeername(file, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sin_family != AF_INET || peer.sin_port != own.sin_port) continue;
    // To the last byte, until none is taken for a while: what was sent goes on into the client's own buffer.
    for (int full = 0; full < 2;) {
      const auto put = [&](size_t count) { return ::send(file, bytes.data(), count, MSG_DONTWAIT | MSG_NOSIGNAL) > 0; };
      if (put(bytes.size()) || put(1)) {
        full = 0;
      } else {
        ++full;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    return;
  }
  ADD_FAILURE() << "the server has no such connection";
}

Answer Client::read() {
  Answer answer;
  if (!read_until("\r\n\r\n")) return answer;
  const size_t end = buffer_.find("\r\n\r\n");
  answer.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  answer.status = std::stoi(answer.head.substr(9, 3));
  if (answer.status == 100) return read();
  if (answer.has_header("Transfer-Encoding: chunked")) {
    for (;;) {
      if (!read_until("\r\n")) return answer;
      const size_t size = std::stoul(buffer_, nullptr, 16), line = buffer_.find("\r\n") + 2;
      while (buffer_.size() < line + size + 2)
        if (!more()) return answer;
      answer.body += buffer_.substr(line, size);
      buffer_.erase(0, line + size + 2);
      if (size == 0) return answer;
    }
  }
  const size_t length = answer.head.find("Content-Length: ");
  const size_t size = length == std::string::npos ? 0 : std::stoul(answer.head.substr(length + 16));
  while (buffer_.size() < size)
    if (!more()) break;
  answer.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return answer;
}

std::string request_text(const std::string& method, const std::string& path, const std::string& body, const Lines& headers) {
  std::string text = cat(method, ' ', path, " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ", body.size(), "\r\n");
  for (const std::string& line : headers) text += line + "\r\n";
  return text + "\r\n" + body;
}

Answer ask(int port, const std::string& method, const std::string& path, const nlohmann::json& body, const Lines& headers) {
  Client connection(port);
  connection.send(request_text(method, path, body.is_null() ? "" : json_text(body), headers));
  return connection.read();
}

double metric(int port, const std::string& name) {
  const std::string text = ask(port, "GET", "/metrics").body;
  const size_t at = text.find('\n' + name + ' ');
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

std::vector<Event> events_of(const std::string& body) {
  std::vector<Event> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = std::min(body.find("\n\n", at), body.size());
    const std::string block = body.substr(at, end - at);
    at = end + 2;
    const size_t data = block.find("data: ");
    if (data == std::string::npos) continue;  // a comment
    const std::string name = block.starts_with("event: ") ? block.substr(7, block.find('\n') - 7) : "";
    events.push_back({name, strict_json(block.substr(data + 6))});
  }
  return events;
}

int listening_socket(int flags) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | flags, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(socket, 5), 0);
  return socket;
}

namespace {

ServerOptions options_for(const std::function<void(ServerOptions&)>& change) {
  ServerOptions options;
  options.port = 0;
  options.shutdown_seconds = 0;
  if (change) change(options);
  return options;
}

}  // namespace

DiffusionPipeline load_model(const std::string& folder, Task task) {
  PretrainedOptions options;
  if (task != Task::text_to_image) options.pipeline_class = class_for(folder, options, task);
  return DiffusionPipeline::from_pretrained(folder, options);
}

Running::Running(const std::function<void(ServerOptions&)>& change, std::vector<ModelEntry> models)
    : server_(options_for(change), models.empty() ? model_entries({tiny_model().string()}) : std::move(models), load_model),
      thread_([this] { server_.run(); }) {}

Running::~Running() {
  server_.shutdown();
  if (thread_.joinable()) thread_.join();
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds within) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace vivace::server
