#include "base/json.h"

#include <algorithm>
#include <limits>

#include "base/file_kind.h"
#include "base/files.h"
#include "base/json_events.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxFile = size_t{64} << 20;

// Python writes non-finite numbers bare, which no JSON parser takes. Each is put into a string of the same length (so that places in
// messages stay right) whose content no checkpoint uses, and turned into the number when the parser reports that string.
struct Constant {
  std::string_view written, as_string, content;
  double value;
};
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Constant kConstants[] = {
    {"-Infinity", "\"\\u0002\" ", "\x02", -kInfinity},
    {"Infinity", "\"\\u0001\"", "\x01", kInfinity},
    {"NaN", "\"\x7f\"", "\x7f", std::numeric_limits<double>::quiet_NaN()},
};

// Returns whether anything was replaced.
bool quote_constants(std::string& text) {
  bool found = false, in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\') ++i;
    if (in_string) continue;
    for (const Constant& c : kConstants) {
      if (text.compare(i, c.written.size(), c.written) != 0) continue;
      text.replace(i, c.written.size(), c.as_string);
      i += c.written.size() - 1;
      found = true;
      break;
    }
  }
  return found;
}

std::string place(std::string_view text, size_t byte) {
  byte = std::min(byte, text.size());
  const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);
  const size_t newline = before.rfind('\n');
  return cat("line ", 1 + std::ranges::count(before, '\n'), ", column ", before.size() - (newline == before.npos ? 0 : newline + 1) + 1);
}

// The library's own words, without its exception number and its idea of the place, on one line.
std::string what(const json::exception& error) {
  std::string text = error.what();
  if (const size_t end = text.find("] "); end != text.npos) text.erase(0, end + 2);
  if (const size_t column = text.find(", column "); text.starts_with("parse error") && column != text.npos)
    if (const size_t colon = text.find(": ", column); colon != text.npos) text.erase(0, colon + 2);
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return text;
}

}  // namespace

json parse_json(std::string_view text, const std::string& name) {
  std::string quoted;
  bool constants = false;
  if (text.find("Infinity") != text.npos || text.find("NaN") != text.npos) {
    quoted = text;
    constants = quote_constants(quoted);
  }
  const std::string_view source = constants ? quoted : text;
  const auto on_event = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) throw UserError(cat(name, ": not a usable JSON file: nested deeper than ", kMaxDepth, " levels"));
    if (constants && event == json::parse_event_t::value && value.is_string())
      for (const Constant& c : kConstants)
        if (value.get_ref<const std::string&>() == c.content) {
          value = c.value;
          break;
        }
    return true;
  };
  try {
    return json::parse(source.begin(), source.end(), on_event);
  } catch (const json::parse_error& error) {
    if (const std::string kind = file_kind_note(text.substr(0, 64)); !kind.empty()) throw UserError(cat(name, ": not a JSON file", kind));
    throw UserError(cat(name, ": not valid JSON at ", place(text, error.byte), ": ", what(error)));
  } catch (const json::exception& error) {
    throw UserError(cat(name, ": not valid JSON: ", what(error)));
  }
}

json strict_json(std::string_view text) { return json::parse(text, nullptr, false); }
nlohmann::ordered_json strict_ordered_json(std::string_view text) { return nlohmann::ordered_json::parse(text, nullptr, false); }
std::string json_text(const json& value, int indent, bool ascii) { return value.dump(indent, ' ', ascii, json::error_handler_t::replace); }

void read_json_events(std::string_view text, json::json_sax_t& receiver) { json::sax_parse(text.begin(), text.end(), &receiver); }

json read_json(const std::filesystem::path& path) { return parse_json(read_file(path, kMaxFile), path.string()); }

}  // namespace vivace
