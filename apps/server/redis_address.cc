// Where Redis is, as --job-store says it.
#include "base/log.h"
#include "base/numbers.h"
#include "http/message.h"
#include "redis_jobs.h"
#include "vivace/error.h"

namespace vivace::server {

RedisAddress redis_address(const std::string& url) {
  static constexpr std::string_view kScheme = "redis://";
  const auto wrong = [&]() -> RedisAddress {
    // Without what may be a password.
    const size_t at = url.rfind('@'), scheme = url.find("://");
    const std::string shown = at == std::string::npos ? url : (scheme < at ? url.substr(0, scheme + 3) : "") + "..." + url.substr(at);
    throw UsageError(cat("--job-store is ", shown, ": expected redis://[[user]:password@]host[:port][/database], both percent-encoded"));
  };
  if (!url.starts_with(kScheme)) return wrong();
  std::string rest = url.substr(kScheme.size());
  RedisAddress address;
  if (const size_t at = rest.rfind('@'); at != std::string::npos) {
    const size_t colon = rest.substr(0, at).find(':');
    const auto user = percent_decoded(colon == std::string::npos ? "" : rest.substr(0, colon));
    const size_t password_at = colon == std::string::npos ? 0 : colon + 1;
    const auto password = percent_decoded(rest.substr(password_at, at - password_at));
    if (!user || !password) return wrong();
    address.user = *user;
    address.password = *password;
    rest = rest.substr(at + 1);
  }
  try {
    if (const size_t slash = rest.find('/'); slash != std::string::npos) {
      if (slash + 1 < rest.size()) address.database = parse_number<int>(rest.substr(slash + 1), "--job-store");
      rest = rest.substr(0, slash);
    }
    if (const size_t colon = rest.rfind(':'); colon != std::string::npos) {
      address.port = parse_number<int>(rest.substr(colon + 1), "--job-store");
      rest = rest.substr(0, colon);
    }
  } catch (const UsageError&) {
    return wrong();
  }
  address.host = rest;
  if (rest.empty() || address.port < 1 || address.port > 65535 || address.database < 0) return wrong();
  return address;
}

}  // namespace vivace::server
