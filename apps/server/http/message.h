// A request and what answers it: all that the rest of the server sees of HTTP.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vivace::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // "POST"
  std::string path;    // "/jobs/17", percent-decoded
  std::string query;   // what stands behind "?", as it came
  Headers headers;     // names in lower case
  std::string body;
  std::string address;  // of the client, without the port

  // nullptr where there is none; the first of several.
  const std::string* header(std::string_view name) const;
  // Of the query, decoded.
  std::optional<std::string> parameter(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers = {};
};

// The answer to one request, from any thread. What comes after its end, or after the client has gone, is dropped.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void send(Response response) = 0;

  // Server-sent events instead. Begins with the first of them, or, where `now` or when none comes for a while, with a comment that keeps the
  // connection alive; until then send() may still refuse.
  virtual void begin_events(bool now, Headers headers = {}) = 0;
  // `name` may be empty; `data` is one line. What `may_be_dropped` is, where the client does not read fast enough.
  virtual void event(const std::string& name, const std::string& data, bool may_be_dropped) = 0;
  virtual void end_events() = 0;

  // Called once, on the thread of the connections, when the client goes before the end; soon, where it has gone or the end is past.
  virtual void on_gone(std::function<void()> gone) = 0;
};

// What is made of requests. All of it is called on the thread of the connections, and should not take long.
struct Handler {
  // Of a request whose head has come: what is answered at once, or nothing; then `body_limit` says how many bytes the body may have.
  std::function<std::optional<Response>(const Request& head, size_t& body_limit)> admit;
  std::function<void(Request request, std::shared_ptr<Reply> reply)> handle;
  // What a request that breaks HTTP, or a limit, is answered with.
  std::function<Response(const Request& head, int status, const std::string& what)> refuse;
  // After the last byte: status 499 where the client went first.
  std::function<void(const Request& head, int status, double seconds)> done;
};

// "%2F" is "/"; "+" is a space where `form`. nullopt for a "%" without two hexadecimal digits, and for a zero byte.
std::optional<std::string> percent_decoded(std::string_view text, bool form = false);

}  // namespace vivace::server
