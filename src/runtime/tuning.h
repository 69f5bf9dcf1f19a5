// Kernel parameters as text, "tiles=8 panels=10": what autotuning finds, a plan keeps and a kernel reads. "" stands for the kernel's defaults.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

// A parameter with the values worth trying, in order, so that a search can walk to a value's neighbours.
struct TuningParameter {
  std::string_view name;
  std::vector<int> values;
  int chosen = 0;  // by the kernel's default; it need not be among the values where these ascend
};

// The value of `name`, or `otherwise` where the text has none.
inline int tuning_value(std::string_view tuning, std::string_view name, int otherwise) {
  for (size_t begin = 0; begin < tuning.size();) {
    const std::string_view item = tuning.substr(begin, tuning.find(' ', begin) - begin);
    begin += item.size() + 1;
    if (item.size() <= name.size() || !item.starts_with(name) || item[name.size()] != '=') continue;
    int value = otherwise;
    std::from_chars(item.data() + name.size() + 1, item.data() + item.size(), value);
    return value;
  }
  return otherwise;
}

// One value for each parameter, in their order.
inline std::string tuning_text(const std::vector<TuningParameter>& parameters, const std::vector<int>& values) {
  std::string text;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (i) text += ' ';
    text += parameters[i].name;
    text += '=';
    text += std::to_string(values[i]);
  }
  return text;
}

}  // namespace vivace
