#include "plan_text.h"

#include <cctype>
#include <map>

#include "base/log.h"
#include "ops/flops.h"
#include "runtime/resize.h"

namespace vivace::cli {

double flops(const Plan& plan, const PlanStep& step) {
  if (step.pack) return 0;  // has the op of the step that it packs for, but one input
  const auto shape = [&](int32_t value) -> const Shape& { return plan.values[static_cast<size_t>(value)].type.shape; };
  return vivace::flops(
      step.op, step.attrs, [&](size_t i) -> const Shape& { return shape(step.in[i]); }, shape(step.out));
}

std::string type_text(const Plan& plan, int32_t value) {
  if (value < 0) return "_";
  const TensorType& type = plan.values[static_cast<size_t>(value)].type;
  return cat(dtype_name(type.dtype), to_string(type.shape));
}

std::string signature(const Plan& plan, const PlanStep& step) {
  std::string text;
  for (int32_t in : step.in) text += (text.empty() ? "" : ", ") + type_text(plan, in);
  return text + " -> " + type_text(plan, step.out);
}

std::vector<std::pair<std::string, int64_t>> symbols(const Plan& plan) {
  std::vector<std::pair<std::string, int64_t>> list;
  const Sizes sizes = sizes_of(plan);
  for (const PlanSymbol& symbol : plan.symbols) {
    std::string names;
    for (const std::string& name : symbol.names) names += (names.empty() ? "" : " = ") + name;
    list.emplace_back(names, sizes.at(symbol.names[0]));
  }
  return list;
}

std::vector<std::string> guards(const Plan& plan) {
  std::vector<std::string> list;
  std::map<std::string, std::string> constants, multiples;
  for (const auto& [name, size] : sizes_of(plan)) constants[name] = cat(name, " == ", size);
  for (const PlanSymbol& symbol : plan.symbols)
    for (const std::string& name : symbol.names) {
      constants.erase(name);
      if (name != symbol.names[0]) list.push_back(cat(symbol.names[0], " == ", name));
    }
  for (const PlanPort& port : plan.inputs)
    for (const PlanDim& dim : port.dims)
      if (dim.multiple_of > 1 && !constants.contains(dim.name)) multiples[dim.name] = cat(dim.name, " % ", dim.multiple_of, " == 0");
  for (const auto& [name, text] : constants) list.push_back(text);
  for (const auto& [name, text] : multiples) list.push_back(text);
  return list;
}

bool is_graph_break(const PlanStep& step) { return step.traits & kGraphBreak; }

std::string block_of(const std::string& scope) {
  if (scope.empty()) return "(outside)";
  size_t end = 0;
  for (int parts = 0; parts < 4 && end != std::string::npos; ++parts) {
    const size_t begin = parts == 0 ? 0 : end + 1;
    const bool number = std::isdigit(static_cast<unsigned char>(scope[begin]));
    end = scope.find('.', begin);
    if (number || scope.compare(begin, 4, "mid_") == 0) return scope.substr(0, end);
  }
  return scope.substr(0, scope.find('.'));
}

}  // namespace vivace::cli
