// HTTP/1.1 on one thread: connections, time limits, keep-alive, server-sent events. Knows nothing of pictures.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "http/message.h"

namespace vivace::server {

struct HttpLimits {
  size_t header_bytes = 16 << 10;
  size_t connections = 512;                  // more are answered 503 and closed
  size_t unsent_bytes = 64 << 20;            // of one connection; who reads no faster is cut off
  std::chrono::milliseconds head{30000};     // for a request's head, from the end of the last answer on
  std::chrono::milliseconds body{120000};    // for its body
  std::chrono::milliseconds write{30000};    // for each 64 kB of an answer
  std::chrono::milliseconds comment{10000};  // between two signs of life in a stream of events
};

class HttpServer {
 public:
  // Listens. Port 0: any free one. Throws UserError that names address and port.
  HttpServer(const std::string& host, int port, const HttpLimits& limits, Handler handler);
  // On a socket that listens already, which becomes its own.
  HttpServer(int socket, const HttpLimits& limits, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  const std::string& address() const;  // "127.0.0.1"
  int port() const;
  // Serves on the calling thread, until drain() was called and the last answer is sent, or until stop().
  void run();
  // Of any thread:
  void drain();                           // no new connections; open ones close after the answer they wait for
  void stop();                            // now
  void post(std::function<void()> work);  // on the thread of the connections
  // There too, again and again while it runs. Before run().
  void every(std::chrono::milliseconds period, std::function<void()> work);

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace vivace::server
