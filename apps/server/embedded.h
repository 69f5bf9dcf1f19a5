// Files of the source tree that are part of the program.
#pragma once

#include <span>
#include <string_view>

namespace vivace::server {

struct Embedded {
  std::string_view path, content_type, content;  // "/page.js"
};
std::span<const Embedded> embedded_files();

}  // namespace vivace::server
