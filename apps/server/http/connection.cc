#include "http/connection.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/read.hpp>
#include <cctype>

#include "base/log.h"

namespace vivace::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

// What is written at once: what the time limit of a write is for.
constexpr size_t kWriteBytes = 64 << 10;
// How often a client that sent more than its request is looked at, when reading would not tell that it has gone.
constexpr std::chrono::milliseconds kWatch{50};
// How long, and how much, a client that is refused may go on sending before the connection closes: closing at once would reset it, and the answer
// might be lost.
constexpr std::chrono::seconds kLinger{2};

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string head_of(const Response& response, bool keep_alive, std::string_view length) {
  std::string head = cat("HTTP/1.1 ", response.status, ' ', std::string_view(http::obsolete_reason(static_cast<http::status>(response.status))),
                         "\r\nContent-Type: ", response.content_type, "\r\n", length, "Connection: ", keep_alive ? "keep-alive" : "close", "\r\n");
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  return head + "\r\n";
}

std::string chunk(const std::string& text, bool http10) {
  if (http10) return text;
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + text + "\r\n";
}

}  // namespace

// Passes what any thread answers to the loop; the connection may be gone, or at its next request.
class Connection::Answer : public Reply {
 public:
  Answer(const std::shared_ptr<Connection>& connection)
      : connection_(connection), executor_(connection->stream_.get_executor()), number_(connection->number_) {}

  void send(Response response) override {
    pass([response = std::move(response)](Connection& c) mutable { c.send(std::move(response)); });
  }
  void begin_events(bool now, Headers headers) override {
    pass([now, headers = std::move(headers)](Connection& c) mutable { c.begin_events(now, std::move(headers)); });
  }
  void event(const std::string& name, const std::string& data, bool may_be_dropped) override {
    pass([name, data, may_be_dropped](Connection& c) { c.event(name, data, may_be_dropped); });
  }
  void end_events() override {
    pass([](Connection& c) { c.end_events(); });
  }
  void on_gone(std::function<void()> gone) override {
    pass([gone](Connection& c) { c.gone_ = gone; }, gone);
  }

 private:
  template <class Work>
  void pass(Work work, std::function<void()> gone = nullptr) {
    asio::post(executor_, [connection = connection_, number = number_, work = std::move(work), gone = std::move(gone)]() mutable {
      const auto c = connection.lock();
      if (c && c->number_ == number && c->waiting_ && !c->closed_)
        work(*c);
      else if (gone)
        gone();
    });
  }

  std::weak_ptr<Connection> connection_;
  beast::tcp_stream::executor_type executor_;
  uint64_t number_;
};

Connection::Connection(asio::ip::tcp::socket socket, Shared& shared)
    : stream_(std::move(socket)), shared_(shared), comments_(stream_.get_executor()), watching_(stream_.get_executor()) {
  Error ignored;
  const auto end = stream_.socket().remote_endpoint(ignored);
  address_ = ignored ? "" : end.address().to_string();
  // Events are small and wait for nothing.
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

void Connection::start() { read_head(); }

void Connection::turn_away() {
  began_ = std::chrono::steady_clock::now();
  head_.address = address_;
  refuse(503, "too many connections");
}

void Connection::drain() {
  keep_alive_ = false;
  if (!waiting_) close();
}

void Connection::read_head() {
  ++number_;
  waiting_ = events_ = events_begun_ = ended_ = unread_ = keep_alive_ = late_ = false;
  status_ = 0;
  gone_ = nullptr;
  head_ = Request{.address = address_};
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes));
  parser_->body_limit(boost::none);  // known once the head is
  stream_.expires_after(shared_.limits.head);
  http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](Error error, size_t) { self->on_head(error); });
}

void Connection::on_head(Error error) {
  if (closed_) return;
  if (error == http::error::end_of_stream || error == asio::error::connection_reset) return close();
  began_ = std::chrono::steady_clock::now();
  if (error == beast::error::timeout) return close();
  if (error == http::error::header_limit) return refuse(431, cat("the head of the request is longer than ", shared_.limits.header_bytes, " bytes"));
  if (error) return refuse(400, cat("no HTTP request: ", error.message()));
  const auto& message = parser_->get();
  http10_ = message.version() < 11;
  keep_alive_ = message.keep_alive();
  head_.method = std::string(message.method_string());
  for (const auto& field : message) head_.headers.emplace_back(lower(field.name_string()), std::string(field.value()));
  const std::string_view target(message.target().data(), message.target().size());
  const size_t question = std::min(target.find('?'), target.size());
  const auto path = percent_decoded(target.substr(0, question));
  if (!path || !path->starts_with('/')) return refuse(400, "the request's target is no path");
  head_.path = *path;
  head_.query = target.substr(std::min(question + 1, target.size()));
  size_t limit = 0;
  if (auto refused = shared_.handler.admit(head_, limit)) {
    unread_ = !parser_->is_done();
    waiting_ = true;
    return send(std::move(*refused));
  }
  if (const auto length = parser_->content_length(); length && *length > limit)
    return refuse(413, cat("the body has ", *length, " bytes: ", limit, " are taken here"));
  const std::string* expected = head_.header("expect");
  // As all that is sent: a client that reads nothing must not hold up the loop.
  if (expected && lower(*expected) == "100-continue" && !http10_ && !parser_->is_done()) put("HTTP/1.1 100 Continue\r\n\r\n");
  read_body(limit);
}

void Connection::read_body(size_t limit) {
  parser_->body_limit(limit);
  // Not the stream's own limit, which closes the socket, so that nothing could be answered.
  stream_.expires_never();
  watching_.expires_after(shared_.limits.body);
  watching_.async_wait([self = shared_from_this(), number = number_](Error stopped) {
    if (stopped || self->closed_ || self->number_ != number || self->waiting_) return;
    self->late_ = true;
    self->stream_.cancel();
  });
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](Error error, size_t) { self->on_body(error); });
}

void Connection::on_body(Error error) {
  if (closed_) return;
  watching_.cancel();
  if (error == http::error::body_limit) return refuse(413, "the body is longer than what is taken here");
  if (late_) return refuse(408, "the body did not come in time");
  if (error == http::error::partial_message || error == asio::error::connection_reset || error == asio::error::eof) return close();
  if (error) return refuse(400, cat("no HTTP request: ", error.message()));
  stream_.expires_never();
  waiting_ = true;
  Request request = head_;
  request.body = std::move(parser_->get().body());
  watch();
  shared_.handler.handle(std::move(request), std::make_shared<Answer>(shared_from_this()));
}

void Connection::refuse(int status, const std::string& what) {
  unread_ = true;
  keep_alive_ = false;
  waiting_ = true;
  send(shared_.handler.refuse(head_, status, what));
}

// The socket can be read while an answer is waited for: the client has gone, or it has sent the next request already.
void Connection::watch() {
  stream_.socket().async_wait(asio::ip::tcp::socket::wait_read, [self = shared_from_this(), number = number_](Error error) {
    if (error || self->closed_ || self->number_ != number || !self->waiting_) return;
    pollfd socket{self->stream_.socket().native_handle(), POLLRDHUP, 0};
    if (::poll(&socket, 1, 0) > 0 && (socket.revents & (POLLRDHUP | POLLHUP | POLLERR))) return self->client_gone();
    self->watching_.expires_after(kWatch);
    self->watching_.async_wait([self](Error stopped) {
      if (!stopped && !self->closed_ && self->waiting_) self->watch();
    });
  });
}

void Connection::client_gone() {
  status_ = 499;
  close();
}

void Connection::send(Response response) {
  if (status_ != 0) return;
  status_ = response.status;
  ended_ = true;
  comments_.cancel();
  keep_alive_ = keep_alive_ && !shared_.draining && !unread_;
  std::string bytes = head_of(response, keep_alive_, response.status == 204 ? "" : cat("Content-Length: ", response.body.size(), "\r\n"));
  // HEAD is answered as GET is, without the body.
  if (head_.method != "HEAD") bytes += response.body;
  put(std::move(bytes));
}

void Connection::begin_events(bool now, Headers headers) {
  if (status_ != 0 || events_) return;
  events_ = true;
  event_headers_ = std::move(headers);
  // nginx would collect events until its buffer is full.
  event_headers_.insert(event_headers_.end(), {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}});
  if (now || head_.method == "HEAD") start_events();
  if (head_.method == "HEAD")
    ended_ = true;
  else
    sign_of_life();
}

void Connection::start_events() {
  if (events_begun_) return;
  events_begun_ = true;
  status_ = 200;
  keep_alive_ = keep_alive_ && !http10_ && !shared_.draining;
  put(head_of({.content_type = "text/event-stream; charset=utf-8", .headers = std::move(event_headers_)}, keep_alive_,
              http10_ ? "" : "Transfer-Encoding: chunked\r\n"));
}

void Connection::event(const std::string& name, const std::string& data, bool may_be_dropped) {
  if (!events_ || ended_) return;
  start_events();
  // A preview is worth nothing once the next one is there.
  if (may_be_dropped && unsent_bytes_ > kWriteBytes) return;
  put(chunk((name.empty() ? "" : "event: " + name + '\n') + "data: " + data + "\n\n", http10_));
}

void Connection::end_events() {
  if (!events_ || ended_) return;
  start_events();
  ended_ = true;
  comments_.cancel();
  if (http10_)
    put("");
  else
    put("0\r\n\r\n");
}

void Connection::sign_of_life() {
  comments_.expires_after(shared_.limits.comment);
  comments_.async_wait([self = shared_from_this(), number = number_](Error error) {
    if (error || self->closed_ || self->number_ != number || self->ended_) return;
    self->start_events();
    if (self->unsent_bytes_ == 0) self->put(chunk(": keep-alive\n\n", self->http10_));
    self->sign_of_life();
  });
}

void Connection::put(std::string bytes) {
  unsent_bytes_ += bytes.size();
  if (events_ && unsent_bytes_ > shared_.limits.unsent_bytes) return client_gone();
  unsent_.push_back(std::move(bytes));
  if (!writing_) write_some();
}

void Connection::write_some() {
  if (closed_) return;
  if (unsent_.empty()) {
    writing_ = false;
    stream_.expires_never();
    if (ended_) finished();
    return;
  }
  writing_ = true;
  const std::string& first = unsent_.front();
  const size_t count = std::min(first.size() - sent_of_first_, kWriteBytes);
  stream_.expires_after(shared_.limits.write);
  stream_.async_write_some(asio::buffer(first.data() + sent_of_first_, count), [self = shared_from_this()](Error error, size_t sent) {
    if (self->closed_) return;
    if (error) return self->client_gone();
    self->unsent_bytes_ -= sent;
    self->sent_of_first_ += sent;
    if (self->sent_of_first_ == self->unsent_.front().size()) {
      self->unsent_.pop_front();
      self->sent_of_first_ = 0;
    }
    self->write_some();
  });
}

void Connection::finished() {
  waiting_ = false;
  gone_ = nullptr;
  watching_.cancel();
  shared_.handler.done(head_, status_, std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count());
  status_ = 0;
  if (unread_) return linger();
  if (!keep_alive_ || shared_.draining) return close();
  read_head();
}

void Connection::linger() {
  Error ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  watching_.expires_after(kLinger);
  watching_.async_wait([self = shared_from_this()](Error) { self->close(); });
  struct Drain {
    static void more(const std::shared_ptr<Connection>& self) {
      self->stream_.async_read_some(self->buffer_.prepare(kWriteBytes), [self](Error error, size_t) {
        if (error || self->closed_) return self->close();
        more(self);
      });
    }
  };
  buffer_.clear();
  Drain::more(shared_from_this());
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  comments_.cancel();
  watching_.cancel();
  if (waiting_) {
    waiting_ = false;
    shared_.handler.done(head_, 499, std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count());
    if (gone_) gone_();
  }
  gone_ = nullptr;
  Error ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  stream_.close();
  shared_.closed(this);
}

}  // namespace vivace::server
