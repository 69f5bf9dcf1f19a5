// One client's connection: requests one after the other, each answered by a Reply. All of it runs on the thread of the event loop.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>
#include <string>

#include "http/http_server.h"

namespace vivace::server {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // What connections have in common.
  struct Shared {
    const HttpLimits& limits;
    const Handler& handler;
    bool draining = false;
    std::function<void(Connection*)> closed;
  };

  Connection(boost::asio::ip::tcp::socket socket, Shared& shared);
  void start();
  // Answers 503 and closes.
  void turn_away();
  // Closes after the answer that it waits for, or now where there is none.
  void drain();

 private:
  class Answer;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Error = boost::system::error_code;

  void read_head();
  void on_head(Error error);
  void read_body(size_t limit);
  void on_body(Error error);
  void refuse(int status, const std::string& what);
  void watch();
  void client_gone();

  void send(Response response);
  void begin_events(bool now, Headers headers);
  void start_events();
  void event(const std::string& name, const std::string& data, bool may_be_dropped);
  void end_events();
  void sign_of_life();

  void put(std::string bytes);
  void write_some();
  void finished();
  void linger();
  void close();

  boost::beast::tcp_stream stream_;
  Shared& shared_;
  boost::asio::steady_timer comments_, watching_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Request head_;  // of the request at hand
  std::string address_;
  std::chrono::steady_clock::time_point began_;
  uint64_t number_ = 0;   // of the request; answers to earlier ones are dropped
  bool waiting_ = false;  // for its answer
  bool http10_ = false, keep_alive_ = false;
  bool late_ = false;    // the body did not come in time
  bool unread_ = false;  // part of the request was not read
  bool events_ = false, events_begun_ = false, ended_ = false;
  int status_ = 0;  // answered
  Headers event_headers_;
  std::function<void()> gone_;
  std::deque<std::string> unsent_;
  size_t unsent_bytes_ = 0, sent_of_first_ = 0;
  bool writing_ = false, closed_ = false;
};

}  // namespace vivace::server
