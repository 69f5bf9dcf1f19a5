#include "bench/report_svg.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "output.h"

namespace vivace::cli {
namespace {

constexpr double kWidth = 400;

std::string number(double value) {
  std::string text = fixed(value, 1);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string open_svg(double height, const std::string& title) {
  return cat("<svg viewBox=\"0 0 ", number(kWidth), ' ', number(height), "\" role=\"img\" aria-label=\"", escape_html(title), "\"><title>",
             escape_html(title), "</title>\n");
}

std::string text_at(double x, double y, const char* anchor, const std::string& css, const std::string& text) {
  return cat("<text x=\"", number(x), "\" y=\"", number(y), "\" text-anchor=\"", anchor, "\" class=\"", css, "\">", escape_html(text), "</text>\n");
}

std::string line_at(double x1, double y1, double x2, double y2, const char* css) {
  return cat("<line x1=\"", number(x1), "\" y1=\"", number(y1), "\" x2=\"", number(x2), "\" y2=\"", number(y2), "\" class=\"", css, "\"/>\n");
}

struct LogScale {
  int low = 0, high = 1;  // powers of ten
  double top = 0, bottom = 0;
  double at(double value) const {
    const double power = value > 0 ? std::clamp(std::log10(value), static_cast<double>(low), static_cast<double>(high)) : low;
    return bottom - (power - low) / (high - low) * (bottom - top);
  }
};

LogScale scale_for(const std::vector<Line>& lines, double top, double bottom) {
  double least = HUGE_VAL, most = 0;
  for (const Line& line : lines)
    for (double v : line.values) {
      if (v > 0) least = std::min(least, v);
      most = std::max(most, v);
    }
  if (most <= 0) return {-8, 0, top, bottom};
  const int low = static_cast<int>(std::floor(std::log10(least))), high = static_cast<int>(std::ceil(std::log10(most)));
  return {low, std::max(high, low + 1), top, bottom};
}

std::string power_text(int power) { return power == 0 ? "1" : cat("1e", power); }

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string bar_chart(const std::vector<Bar>& bars, const std::string& title) {
  constexpr double kRow = 36, kBar = 12, kLabels = 15;
  double most = 1e-12;
  for (const Bar& bar : bars) most = std::max(most, bar.high);
  const auto x = [&](double value) { return value / most * (kWidth - 2); };
  std::string svg = open_svg(kRow * static_cast<double>(bars.size()), title);
  double y = 0;
  for (const Bar& bar : bars) {
    const double middle = y + kLabels + 4 + kBar / 2;
    svg += text_at(0, y + kLabels - 2, "start", "label", bar.label) + text_at(kWidth, y + kLabels - 2, "end", "value", bar.value_text);
    svg += cat("<rect x=\"0\" y=\"", number(y + kLabels + 4), "\" width=\"", number(std::max(1.0, x(bar.value))), "\" height=\"", number(kBar),
               "\" rx=\"2\" class=\"bar\"/>\n");
    if (bar.high > bar.low)
      svg += line_at(x(bar.low), middle, x(bar.high), middle, "whisker") + line_at(x(bar.low), middle - 3, x(bar.low), middle + 3, "whisker") +
             line_at(x(bar.high), middle - 3, x(bar.high), middle + 3, "whisker");
    y += kRow;
  }
  return svg + "</svg>\n";
}

std::string log_line_chart(const std::vector<Line>& lines, const std::string& title, const std::string& x_label) {
  constexpr double kHeight = 240, kLeft = 38, kRight = kWidth - 8, kTop = 8, kBottom = kHeight - 34;
  const LogScale scale = scale_for(lines, kTop, kBottom);
  size_t steps = 1;
  for (const Line& line : lines) steps = std::max(steps, line.values.size());
  const auto x = [&](size_t step) {
    return steps == 1 ? (kLeft + kRight) / 2 : kLeft + static_cast<double>(step) / static_cast<double>(steps - 1) * (kRight - kLeft);
  };
  std::string svg = open_svg(kHeight, title);
  const int every = 1 + (scale.high - scale.low) / 8;
  for (int power = scale.low; power <= scale.high; power += every) {
    const double y = scale.at(std::pow(10, power));
    svg += line_at(kLeft, y, kRight, y, "grid") + text_at(kLeft - 5, y + 4, "end", "tick", power_text(power));
  }
  svg += text_at(kLeft, kBottom + 14, "start", "tick", "1") + text_at(kRight, kBottom + 14, "end", "tick", std::to_string(steps)) +
         text_at((kLeft + kRight) / 2, kBottom + 28, "middle", "tick", x_label);
  for (const Line& line : lines) {
    std::string points;
    for (size_t i = 0; i < line.values.size(); ++i) points += cat(i ? " " : "", number(x(i)), ',', number(scale.at(line.values[i])));
    const std::string style = cat("style=\"--c:var(--c", line.color, ")\"");
    svg += cat("<polyline points=\"", points, "\" class=\"line\" ", style, "><title>", escape_html(line.label), "</title></polyline>\n");
    svg += cat("<circle cx=\"", number(x(line.values.size() - 1)), "\" cy=\"", number(scale.at(line.values.back())), "\" r=\"3\" class=\"dot\" ",
               style, "/>\n");
  }
  return svg + "</svg>\n";
}

}  // namespace vivace::cli
