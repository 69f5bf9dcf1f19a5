#include "systemd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace::server {
namespace {

constexpr int kFirst = 3;  // the first descriptor that is passed

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::optional<int> inherited_socket() {
  // They are meant for this process, unless a parent left them in its environment.
  if (variable("LISTEN_PID") != std::to_string(::getpid())) return std::nullopt;
  const std::string count = variable("LISTEN_FDS");
  if (count != "1") throw UserError(cat("systemd passes \"", count, "\" sockets (LISTEN_FDS): expected one ListenStream= in the .socket unit"));
  ::fcntl(kFirst, F_SETFD, FD_CLOEXEC);
  return kFirst;
}

void notify(const std::string& state) {
  const std::string path = variable("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // a name that is in no folder
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  [[maybe_unused]] const auto sent = ::sendto(socket, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  ::close(socket);
}

}  // namespace vivace::server
