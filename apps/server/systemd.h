// What systemd passes to a service, and wants to be told. Both are few lines of protocol (sd_listen_fds(3), sd_notify(3)), which need no library.
#pragma once

#include <optional>
#include <string>

namespace vivace::server {

// The socket that it listens on for us; nothing where there is none. Throws UserError where there are several.
std::optional<int> inherited_socket();
// "READY=1", "STOPPING=1", "WATCHDOG=1". Does nothing where nobody asked for it.
void notify(const std::string& state);

}  // namespace vivace::server
