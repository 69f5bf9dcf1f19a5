#include "base/rendezvous.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "base/joined.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kGreeting = "vivace-rendezvous-1";
constexpr char kWelcome = 'w', kRefused = 'r', kLeft = 'l';
constexpr uint32_t kMostBytes = 1u << 20;
constexpr std::chrono::seconds kGreetingTime{10};  // what a stranger may take to say nothing

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

std::string seconds_text(std::chrono::milliseconds time) { return cat(static_cast<double>(time.count()) / 1000, " s"); }

bool send_all(int socket, const void* bytes, size_t count) {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t sent = ::send(socket, from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    from += sent;
    count -= static_cast<size_t>(sent);
  }
  return true;
}

bool receive_all(int socket, void* bytes, size_t count, Clock::time_point end) {
  auto* to = static_cast<char*>(bytes);
  while (count > 0) {
    pollfd one{socket, POLLIN, 0};
    const int ready = ::poll(&one, 1, milliseconds_until(end));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t got = ::recv(socket, to, count, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

// A text behind its length, in four bytes, the lowest first.
bool send_text(int socket, const std::string& text) {
  const auto n = static_cast<uint32_t>(text.size());
  const unsigned char length[] = {static_cast<unsigned char>(n), static_cast<unsigned char>(n >> 8), static_cast<unsigned char>(n >> 16),
                                  static_cast<unsigned char>(n >> 24)};
  return send_all(socket, length, sizeof length) && send_all(socket, text.data(), text.size());
}

std::optional<std::string> receive_text(int socket, Clock::time_point end) {
  unsigned char length[4];
  if (!receive_all(socket, length, sizeof length, end)) return std::nullopt;
  const uint32_t n = length[0] | uint32_t{length[1]} << 8 | uint32_t{length[2]} << 16 | uint32_t{length[3]} << 24;
  if (n > kMostBytes) return std::nullopt;
  std::string text(n, '\0');
  if (!receive_all(socket, text.data(), n, end)) return std::nullopt;
  return text;
}

std::string meeting_place(const Rendezvous::Options& o) { return cat(o.address, ':', o.port, " (MASTER_ADDR, MASTER_PORT)"); }

std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(const Rendezvous::Options& o) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int error = ::getaddrinfo(o.address.c_str(), std::to_string(o.port).c_str(), &hints, &found))
    throw UserError(cat("MASTER_ADDR is ", o.address, ": ", ::gai_strerror(error), ": expected the name or address of rank 0's machine"));
  return {found, &::freeaddrinfo};
}

// Listens on the first of the addresses that is this machine's.
int listening(const Rendezvous::Options& o) {
  const auto all = addresses(o);
  int error = 0;
  for (const addrinfo* at = all.get(); at; at = at->ai_next) {
    const int socket = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (socket < 0) continue;
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(socket, at->ai_addr, at->ai_addrlen) == 0 && ::listen(socket, SOMAXCONN) == 0) return socket;
    error = errno;
    ::close(socket);
    if (error == EADDRINUSE) break;
  }
  throw UserError(
      cat("rank 0 cannot listen on ", meeting_place(o), ": ", std::strerror(error),
          error == EADDRINUSE ? ": is there a second rank 0? Else expected another MASTER_PORT" : ": expected an address of its machine"));
}

int connected(const Rendezvous::Options& o, Clock::time_point end) {
  const auto all = addresses(o);
  const int left = std::max(milliseconds_until(end), 1);
  const timeval most{left / 1000, left % 1000 * 1000};  // a machine may drop what comes
  for (const addrinfo* at = all.get(); at; at = at->ai_next) {
    const int socket = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (socket < 0) continue;
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (::connect(socket, at->ai_addr, at->ai_addrlen) == 0) return socket;
    ::close(socket);
  }
  return -1;
}

}  // namespace

Rendezvous::Socket::Socket(Socket&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}
Rendezvous::Socket& Rendezvous::Socket::operator=(Socket&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}
Rendezvous::Socket::~Socket() {
  if (handle_ >= 0) ::close(handle_);
}

Rendezvous::Rendezvous(const Options& options) : rank_(options.rank), message_(options.message) {
  const Clock::time_point end = Clock::now() + options.patience;
  if (options.rank > 0)
    go_to_first(options, end);
  else if (options.size > 1)
    receive_others(options, end);
}

Rendezvous::~Rendezvous() = default;

std::string Rendezvous::take_in(const Options& o, Socket socket, Clock::time_point end) {
  const std::optional<std::string> greeting = receive_text(socket.handle(), std::min(end, Clock::now() + kGreetingTime));
  std::istringstream words(greeting.value_or(""));
  std::string first, task;
  int rank = -1, size = -1;
  if (!(words >> first >> rank >> size) || first != kGreeting) {
    warn("what is no rank came to ", meeting_place(o), ": it was sent away");
    return {};
  }
  words.get();
  std::getline(words, task, '\0');
  others_.push_back({rank, std::move(socket)});
  if (size != o.size) return cat("rank ", rank, " was started for ", size, " ranks, rank 0 for ", o.size, ": expected one WORLD_SIZE");
  if (rank < 1 || rank >= size || std::ranges::count(others_, rank, &Other::rank) > 1)
    return cat("rank ", rank, " came twice: expected each process to have a RANK of its own");
  if (task != o.task) return cat("rank ", rank, " was started with other arguments than rank 0: expected the same command line");
  return {};
}

void Rendezvous::receive_others(const Options& o, Clock::time_point end) {
  const Socket listener(listening(o));
  std::string wrong;
  while (wrong.empty() && others_.size() + 1 < static_cast<size_t>(o.size)) {
    pollfd one{listener.handle(), POLLIN, 0};
    const int ready = ::poll(&one, 1, milliseconds_until(end));
    if (ready < 0 && errno == EINTR) continue;
    if (ready > 0 && Clock::now() < end) {
      if (const int socket = ::accept4(listener.handle(), nullptr, nullptr, SOCK_CLOEXEC); socket >= 0)
        wrong = take_in(o, Socket(socket), end);
      else if (errno != EINTR && errno != ECONNABORTED)
        wrong = cat("rank 0 cannot let the others in at ", meeting_place(o), ": ", std::strerror(errno));
      continue;
    }
    std::vector<int> missing;
    for (int rank = 1; rank < o.size; ++rank)
      if (std::ranges::count(others_, rank, &Other::rank) == 0) missing.push_back(rank);
    wrong = cat(missing.size() == 1 ? "rank " : "ranks ", joined(missing, ", ", [](int rank) { return std::to_string(rank); }), " of ", o.size,
                " did not come to ", meeting_place(o), " within ", seconds_text(o.patience), ": was each of them started?");
  }
  for (const Other& other : others_) send_text(other.socket.handle(), wrong.empty() ? kWelcome + message_ : kRefused + wrong);
  if (!wrong.empty()) throw UserError(wrong);
}

void Rendezvous::go_to_first(const Options& o, Clock::time_point end) {
  constexpr std::chrono::milliseconds kPause{50};
  const auto absent = [&] {
    return UserError(cat("rank ", o.rank, " of ", o.size, ": rank 0 did not answer at ", meeting_place(o), " within ", seconds_text(o.patience),
                         ": was it started?"));
  };
  int handle = -1;
  while ((handle = connected(o, end)) < 0) {
    if (Clock::now() >= end) throw absent();
    std::this_thread::sleep_for(kPause);
  }
  Socket socket(handle);
  if (!send_text(handle, cat(kGreeting, ' ', o.rank, ' ', o.size, ' ', o.task))) throw absent();
  // Rank 0 waits for the others as long, and says who is missing.
  const Clock::time_point last = end + std::chrono::seconds(5);
  const std::optional<std::string> answer = receive_text(handle, last);
  if (!answer && Clock::now() < last)
    throw UserError(cat("rank ", o.rank, " of ", o.size, ": rank 0 ended before all had come: its own message says why"));
  if (!answer || answer->empty()) throw absent();
  if (answer->front() != kWelcome) throw UserError(cat("rank ", o.rank, " of ", o.size, ": ", answer->substr(1)));
  message_ = answer->substr(1);
  others_.push_back({0, std::move(socket)});
}

void Rendezvous::check() {
  for (Other& other : others_) {
    if (other.left) continue;
    char byte = 0;
    const ssize_t got = ::recv(other.socket.handle(), &byte, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) continue;
    if (got != 1 || byte != kLeft) throw UserError(cat("rank ", other.rank, " has ended before its work was done: its own message says why"));
    other.left = true;
  }
}

void Rendezvous::leave() noexcept {
  if (rank_ == 0) wait_for_others();
  for (const Other& other : others_) (void)send_all(other.socket.handle(), &kLeft, 1);
}

void Rendezvous::wait_for_others() noexcept {
  for (;;) {
    std::vector<pollfd> waiting;
    for (const Other& other : others_)
      if (!other.left) waiting.push_back({other.socket.handle(), POLLIN, 0});
    if (waiting.empty()) return;
    if (::poll(waiting.data(), waiting.size(), -1) < 0) return;  // a signal: whoever stops this process does not want it to wait
    try {
      check();
    } catch (const UserError& error) {
      warn(error.what());
      others_.clear();  // who is left misses this one
    }
  }
}

}  // namespace vivace
