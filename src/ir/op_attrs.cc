#include "ir/op_attrs.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/log.h"
#include "vivace/dtype.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using Type = AttrRow::Type;

struct TypeName {
  Type type;
  std::string_view name;
};
constexpr std::array<TypeName, 6> kTypes{
    {{Type::integer, "int"}, {Type::real, "real"}, {Type::integers, "ints"}, {Type::text, "text"}, {Type::dtype, "dtype"}, {Type::act, "act"}}};
std::string_view name_of(Type type) { return std::ranges::find(kTypes, type, &TypeName::type)->name; }

AttrRow parse_row(std::string_view word) {
  const size_t colon = std::min(word.find(':'), word.size() - 1), marks = std::min(word.find_first_of("?*"), word.size());
  const auto type = std::ranges::find(kTypes, word.substr(colon + 1, marks - colon - 1), &TypeName::name);
  if (type == kTypes.end()) throw InternalError(cat("op_list.inc: attribute \"", word, "\""));
  return {word.substr(0, colon), type->type, word.find('?', marks) != word.npos, word.find('*', marks) != word.npos};
}

std::vector<AttrRow> parse_rows(std::string_view text) {
  std::vector<AttrRow> rows;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (end > 0) rows.push_back(parse_row(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return rows;
}

bool is_dtype(std::string_view name) {
  try {
    parse_dtype(name);
    return true;
  } catch (const UserError&) {
    return false;
  }
}

bool is_act(std::string_view name) {
  constexpr std::string_view kActs[] = {"silu", "gelu", "gelu_tanh", "quick_gelu", "relu"};
  return name.empty() || std::ranges::count(kActs, name);
}

bool fits(Type type, const Attr& value) {
  const auto* text = std::get_if<std::string>(&value);
  switch (type) {
    case Type::integer:
      return std::holds_alternative<int64_t>(value);
    case Type::real:
      return std::holds_alternative<double>(value) || std::holds_alternative<int64_t>(value);
    case Type::integers:
      return std::holds_alternative<std::vector<int64_t>>(value);
    case Type::text:
      return text;
    case Type::dtype:
      return text && is_dtype(*text);
    case Type::act:
      return text && is_act(*text);
  }
  return false;
}

}  // namespace

std::span<const AttrRow> op_attrs(Op op) {
  static const std::vector<std::vector<AttrRow>> tables = [] {
    std::vector<std::vector<AttrRow>> result;
    result.reserve(static_cast<size_t>(op_count()));
    for (int i = 0; i < op_count(); ++i) result.push_back(parse_rows(op_row(static_cast<Op>(i)).attrs));
    return result;
  }();
  return tables[static_cast<size_t>(op)];
}

std::optional<std::string> attrs_error(Op op, const Attrs& attrs, bool of_model) {
  const std::span<const AttrRow> rows = op_attrs(op);
  for (const auto& [name, value] : attrs.items()) {
    const auto row = std::ranges::find(rows, name, &AttrRow::name);
    if (row == rows.end() || (of_model && row->by_passes)) {
      std::string known;
      for (const AttrRow& r : rows)
        if (!of_model || !r.by_passes) known += cat(known.empty() ? "" : ", ", r.name);
      return cat("has an attribute \"", name, "\"", row == rows.end() ? "" : ", which passes set,", " and may have ", known.empty() ? "none" : known);
    }
    if (!fits(row->type, value)) return cat("attribute \"", name, "\" is not of type ", name_of(row->type));
  }
  for (const AttrRow& row : rows)
    if (!row.optional && !attrs.has(row.name)) return cat("lacks the attribute \"", row.name, "\"");
  return std::nullopt;
}

}  // namespace vivace
