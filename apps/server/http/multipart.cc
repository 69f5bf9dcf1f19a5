#include "http/multipart.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace::server {
namespace {

constexpr size_t kMostParts = 64, kMostBoundary = 70, kMostHead = 8 << 10;
constexpr std::string_view kSpace = " \t", kType = "multipart/form-data", kEnd = "\r\n";

bool same(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// The part up to `end`, which is taken off with it.
std::string_view take_until(std::string_view& text, std::string_view end) {
  const size_t at = std::min(text.find(end), text.size());
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(std::min(at + end.size(), text.size()));
  return head;
}

// "..." with \" and \\ inside.
std::string take_quoted(std::string_view& text) {
  std::string value;
  text.remove_prefix(1);
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\' && text.size() > 1) text.remove_prefix(1);
    value += text.front();
    text.remove_prefix(1);
  }
  if (!text.empty()) text.remove_prefix(1);
  return value;
}

// Of `form-data; name="image"; filename="a;b.png"`.
std::optional<std::string> parameter(std::string_view text, std::string_view wanted) {
  take_until(text, ";");
  while (!text.empty()) {
    const std::string_view name = trimmed(take_until(text, "="));
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
    std::string value;
    if (text.starts_with('"')) {
      value = take_quoted(text);
      take_until(text, ";");
    } else {
      value = trimmed(take_until(text, ";"));
    }
    if (same(name, wanted)) return value;
  }
  return std::nullopt;
}

[[noreturn]] void wrong(const std::string& what) { throw UsageError(cat("the request's body is no form (multipart/form-data): ", what)); }

FormPart read_head(std::string_view head) {
  while (!head.empty()) {
    std::string_view value = take_until(head, kEnd);
    if (!same(trimmed(take_until(value, ":")), "content-disposition")) continue;
    const auto name = parameter(value, "name");
    if (!name || name->empty()) wrong("a part has no name");
    return {.name = *name, .filename = parameter(value, "filename").value_or(""), .data = {}};
  }
  wrong("a part has no Content-Disposition");
}

}  // namespace

std::string form_name(const FormPart& part) { return part.name.ends_with("[]") ? part.name.substr(0, part.name.size() - 2) : part.name; }

bool is_multipart(std::string_view content_type) { return same(trimmed(take_until(content_type, ";")), kType); }

std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body) {
  const std::string boundary = parameter(content_type, "boundary").value_or("");
  if (boundary.empty() || boundary.size() > kMostBoundary) wrong(cat("expected a boundary of 1 to ", kMostBoundary, " characters"));
  const std::string opening = "--" + boundary, between = "\r\n" + opening;
  // Before the first boundary may stand what nobody reads.
  if (body.starts_with(opening)) {
    body.remove_prefix(opening.size());
  } else {
    const size_t begin = body.find(between);
    if (begin == std::string_view::npos) wrong("its boundary is not there");
    body.remove_prefix(begin + between.size());
  }
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    if (parts.size() == kMostParts) wrong(cat("more than ", kMostParts, " parts"));
    if (!trimmed(take_until(body, kEnd)).empty()) wrong("something follows a boundary");
    const size_t head = body.starts_with(kEnd) ? 0 : body.find("\r\n\r\n");
    if (head == std::string_view::npos || head > kMostHead) wrong("the head of a part does not end");
    FormPart part = read_head(body.substr(0, head));
    body.remove_prefix(head + 4);
    const size_t end = body.find(between);
    if (end == std::string_view::npos) wrong("its last boundary is missing");
    part.data = body.substr(0, end);
    body.remove_prefix(end + between.size());
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace vivace::server
