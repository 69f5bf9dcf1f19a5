#include "admission.h"

#include <algorithm>

#include "base/log.h"
#include "decode.h"
#include "fields.h"
#include "job.h"

namespace vivace::server {
namespace {

// Equal without telling, by the time it takes, how much of it is.
bool equal(const std::string& given, const std::string& key) {
  unsigned difference = given.size() != key.size();
  for (size_t i = 0; i < given.size(); ++i) difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  return difference == 0;
}

// "user:password" of Basic authentication; empty where it is none.
std::string credentials(std::string_view text) {
  try {
    return from_base64(text, "authorization");
  } catch (const FieldError&) {
    return "";
  }
}

// "localhost" of "localhost:7860", "::1" of "[::1]:7860".
std::string_view name_of(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

// An address and no name: digits and dots, or with a colon.
bool is_address(std::string_view name) {
  return name.find(':') != std::string_view::npos || name.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

bool has_key(const Request& request, const std::string& key) {
  const std::string* given = request.header("authorization");
  if (!given) return false;
  if (given->starts_with("Bearer ")) return equal(given->substr(7), key);
  if (!given->starts_with("Basic ")) return false;
  const std::string user = credentials(std::string_view(*given).substr(6));
  return equal(user.substr(std::min(user.find(':'), user.size() - 1) + 1), key);
}

int urgency_of(const Request& request, const std::string& priority_key) {
  const std::string* priority = request.header("priority");
  if (!priority || priority_key.empty() || !has_key(request, priority_key)) return Job::kUrgency;
  const size_t at = priority->find("u=");
  const bool is_digit = at != std::string::npos && at + 2 < priority->size() && (*priority)[at + 2] >= '0' && (*priority)[at + 2] <= '7';
  return is_digit ? (*priority)[at + 2] - '0' : Job::kUrgency;
}

std::string wrong_origin(const Request& request, const std::vector<std::string>& allowed, bool local) {
  const std::string* host = request.header("host");
  if (local && host) {
    const std::string_view name = name_of(*host);
    if (name != "localhost" && !is_address(name))
      return cat("this server is for this machine, and is not called \"", std::string(name), "\": use 127.0.0.1, or start it with --api-key");
  }
  const std::string* origin = request.header("origin");
  if (!origin || request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS") return "";
  const size_t scheme = origin->find("://");
  if (host && scheme != std::string::npos && origin->substr(scheme + 3) == *host) return "";
  if (std::ranges::count(allowed, *origin) || std::ranges::count(allowed, "*")) return "";
  return cat("pages of ", *origin, " may not call this server: start it with --cors-origin ", *origin);
}

}  // namespace vivace::server
