// Plots of a report as inline SVG, drawn 400 units wide so that a phone shows them near their own size. Colours are CSS variables of the page.
#pragma once

#include <string>
#include <vector>

namespace vivace::cli {

// For text and for attributes in double quotes.
std::string escape_html(const std::string& text);

struct Bar {
  std::string label, value_text;
  double value = 0, low = 0, high = 0;  // low and high: a whisker
};
// One under the other, all from zero.
std::string bar_chart(const std::vector<Bar>& bars, const std::string& title);

struct Line {
  std::string label;
  int color = 0;               // var(--c0), var(--c1), ...
  std::vector<double> values;  // at 1, 2, 3, ...; zeros are drawn at the bottom
};
// Logarithmic upwards, a tick each power of ten.
std::string log_line_chart(const std::vector<Line>& lines, const std::string& title, const std::string& x_label);

}  // namespace vivace::cli
