// A client over plain sockets, which also does what no client should.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "server.h"

namespace vivace::server {

struct Answer {
  int status = 0;  // 0: the connection was closed without one
  std::string head, body;
  bool has_header(const std::string& line) const;  // "Retry-After: 1", any case
  nlohmann::json json() const;
};

struct Event {
  std::string name;
  nlohmann::json data;
};

class Client {
 public:
  // Without a connection is a failure of the test, unless it may be.
  explicit Client(int port, bool must_connect = true);
  ~Client();
  Client(const Client&) = delete;

  bool send(const std::string& bytes);
  // One answer; what follows is left for the next. Events are read to their end.
  Answer read();
  // Up to the end of the first part that holds `text`; what was read is `seen`.
  bool read_until(const std::string& text);
  bool closed_by_server();  // waits for it
  bool has_more() const;    // that read() would not wait for
  // What the server may write without waiting is written, in its name: it is in this process too.
  void fill_what_it_sends() const;
  const std::string& seen() const { return buffer_; }
  void close();

 private:
  bool more();

  int socket_ = -1;
  std::string buffer_;
};

using Lines = std::vector<std::string>;  // "Authorization: Bearer x"
std::string request_text(const std::string& method, const std::string& path, const std::string& body = "", const Lines& headers = {});
Answer ask(int port, const std::string& method, const std::string& path, const nlohmann::json& body = nullptr, const Lines& headers = {});
// Of /metrics; -1 where it is not there.
double metric(int port, const std::string& name);
// Of the body of a stream.
std::vector<Event> events_of(const std::string& body);
// On 127.0.0.1, at any free port.
int listening_socket(int flags);
// As the program loads them.
DiffusionPipeline load_model(const std::string& folder, Task task);

// A server with the tiny model, on a port of its own.
class Running {
 public:
  explicit Running(const std::function<void(ServerOptions&)>& change = {}, std::vector<ModelEntry> models = {});
  ~Running();
  int port() const { return server_.port(); }
  Server& server() { return server_; }
  void join() { thread_.join(); }

 private:
  Server server_;
  std::thread thread_;
};

// Whether it becomes true within a while.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds within = std::chrono::seconds(60));

}  // namespace vivace::server
