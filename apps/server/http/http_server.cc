#include "http/http_server.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <set>
#include <vector>

#include "base/log.h"
#include "http/connection.h"
#include "vivace/error.h"

namespace vivace::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// Where no descriptor is left, accepting is tried again after this.
constexpr std::chrono::milliseconds kAcceptAgain{200};

}  // namespace

struct HttpServer::Inside {
  struct Repeated {
    asio::steady_timer timer;
    std::chrono::milliseconds period;
    std::function<void()> work;
  };

  Inside(const HttpLimits& the_limits, Handler the_handler)
      : limits(the_limits), handler(std::move(the_handler)), shared{.limits = limits, .handler = handler, .closed = [this](Connection* c) {
                                                                      connections.erase(c->shared_from_this());
                                                                      if (shared.draining && connections.empty()) loop.stop();
                                                                    }} {}

  void accept() {
    acceptor.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {
        retry.expires_after(kAcceptAgain);
        retry.async_wait([this](boost::system::error_code) {
          if (acceptor.is_open()) accept();
        });
        return;
      }
      const auto connection = std::make_shared<Connection>(std::move(socket), shared);
      connections.insert(connection);
      if (connections.size() > limits.connections)
        connection->turn_away();
      else
        connection->start();
      accept();
    });
  }

  void repeat(const std::shared_ptr<Repeated>& repeated) {
    repeated->timer.expires_after(repeated->period);
    repeated->timer.async_wait([this, repeated](boost::system::error_code error) {
      if (error) return;
      repeated->work();
      repeat(repeated);
    });
  }

  const HttpLimits limits;
  const Handler handler;
  asio::io_context loop{1};
  tcp::acceptor acceptor{loop};
  asio::steady_timer retry{loop};
  std::string address;
  int port = 0;
  std::set<std::shared_ptr<Connection>> connections;
  Connection::Shared shared;
};

HttpServer::HttpServer(const std::string& host, int port, const HttpLimits& limits, Handler handler)
    : inside_(std::make_unique<Inside>(limits, std::move(handler))) {
  try {
    const tcp::endpoint end(asio::ip::make_address(host), static_cast<uint16_t>(port));
    inside_->acceptor.open(end.protocol());
    inside_->acceptor.set_option(tcp::acceptor::reuse_address(true));
    inside_->acceptor.bind(end);
    inside_->acceptor.listen();
    inside_->address = end.address().to_string();
    inside_->port = inside_->acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    throw UserError(cat("cannot listen on ", host, " port ", port, ": ", error.code().message(),
                        ": expected an address of this machine, such as 127.0.0.1 or 0.0.0.0, and a port that is free (--host, --port)"));
  }
  inside_->accept();
}

HttpServer::HttpServer(int socket, const HttpLimits& limits, Handler handler) : inside_(std::make_unique<Inside>(limits, std::move(handler))) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  const bool known = ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) == 0;
  if (!known || (bound.ss_family != AF_INET && bound.ss_family != AF_INET6))
    throw UserError("the socket that was passed is none of TCP: expected ListenStream= with a port in the .socket unit");
  try {
    inside_->acceptor.assign(bound.ss_family == AF_INET ? tcp::v4() : tcp::v6(), socket);
    const tcp::endpoint end = inside_->acceptor.local_endpoint();
    inside_->address = end.address().to_string();
    inside_->port = end.port();
  } catch (const boost::system::system_error& error) {
    throw UserError(cat("cannot listen on the socket that was passed: ", error.code().message()));
  }
  inside_->accept();
}

HttpServer::~HttpServer() = default;

const std::string& HttpServer::address() const { return inside_->address; }
int HttpServer::port() const { return inside_->port; }
void HttpServer::run() { inside_->loop.run(); }
void HttpServer::stop() { inside_->loop.stop(); }
void HttpServer::post(std::function<void()> work) { asio::post(inside_->loop, std::move(work)); }

void HttpServer::drain() {
  post([this] {
    inside_->shared.draining = true;
    inside_->acceptor.close();
    const std::vector<std::shared_ptr<Connection>> open(inside_->connections.begin(), inside_->connections.end());
    for (const auto& connection : open) connection->drain();
    if (inside_->connections.empty()) inside_->loop.stop();
  });
}

void HttpServer::every(std::chrono::milliseconds period, std::function<void()> work) {
  inside_->repeat(std::make_shared<Inside::Repeated>(Inside::Repeated{asio::steady_timer(inside_->loop), period, std::move(work)}));
}

}  // namespace vivace::server
