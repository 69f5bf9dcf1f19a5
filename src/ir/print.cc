#include <cmath>

#include "base/log.h"
#include "base/numbers.h"
#include "ir/graph.h"

namespace vivace {
namespace {

std::string print_real(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = number_text(value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";  // so that it parses as a real again
  return text;
}

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ';' : c;
  }
  return out + '"';
}

std::string print_attr(const Attr& attr) {
  if (const auto* i = std::get_if<int64_t>(&attr)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&attr)) return print_real(*d);
  if (const auto* s = std::get_if<std::string>(&attr)) return quote(*s);
  return to_string(std::get<std::vector<int64_t>>(attr));
}

}  // namespace

std::string print_attrs(const Attrs& attrs) {
  std::string out;
  for (const auto& [key, value] : attrs.items()) out += (out.empty() ? "" : ", ") + key + "=" + print_attr(value);
  return out;
}

std::string print(const Graph& graph, bool with_scopes) {
  std::string out;
  for (NodeId id = 0; id < graph.size(); ++id) {
    const Node& node = graph[id];
    std::string args;
    for (NodeId in : node.inputs) args += (args.empty() ? "" : ", ") + (in == kNone ? std::string("_") : "%" + std::to_string(in));
    const std::string attrs = print_attrs(node.attrs);
    if (!attrs.empty()) args += (args.empty() ? "" : ", ") + attrs;
    out += cat("%", id, " = ", op_name(node.op), "(", args, ") : ", dtype_name(node.dtype), to_string(node.shape));
    if (node.phase != Phase::step) out += cat(" @", phase_name(node.phase));
    if (with_scopes && !node.scope.empty()) out += "  # " + node.scope;
    out += '\n';
  }
  out += "return";
  for (size_t i = 0; i < graph.outputs.size(); ++i) out += cat(i ? ", " : " ", graph.outputs[i].first, "=%", graph.outputs[i].second);
  return out + "\n";
}

}  // namespace vivace
