#include "base/numbers.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

template <class T>
T parse_number(std::string_view text, std::string_view name) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  using Limits = std::numeric_limits<T>;
  const char* expected = Limits::is_signed ? "a whole number" : "a whole number of 0 or more";
  if (!Limits::is_integer) expected = "a number, such as 0.5";
  const bool finite = !std::is_floating_point_v<T> || std::isfinite(static_cast<double>(value));
  if (error == std::errc::invalid_argument || end != text.data() + text.size() || !finite)
    throw UsageError(cat(name, " is \"", text, "\": expected ", expected));
  if (error == std::errc::result_out_of_range)
    throw UsageError(cat(name, " is ", text, ": expected a number from ", Limits::lowest(), " to ", Limits::max()));
  return value;
}

template int parse_number(std::string_view, std::string_view);
template int64_t parse_number(std::string_view, std::string_view);
template uint32_t parse_number(std::string_view, std::string_view);
template uint64_t parse_number(std::string_view, std::string_view);
template double parse_number(std::string_view, std::string_view);

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace vivace
