#include "ops/tile_program.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "base/log.h"
#include "base/numbers.h"
#include "ir/op_attrs.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Between the separators; empty parts are left out.
std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(separator));
    if (!part.empty()) parts.push_back(part);
    text.remove_prefix(std::min(part.size() + 1, text.size()));
  }
  return parts;
}

[[noreturn]] void damaged(std::string_view text, std::string_view word, std::string_view what) {
  throw InternalError(cat("tile program: \"", word, "\" in \"", text, "\" ", what));
}

// All of a word as a number, in any locale.
template <class T>
T number_in(std::string_view text, std::string_view word, std::string_view digits) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) damaged(text, word, "has no number");
  return value;
}

int parse_argument(std::string_view text, std::string_view word) {
  if (word[0] != 'i' && word[0] != 't') damaged(text, word, "is neither an input nor a result");
  const int index = number_in<int>(text, word, word.substr(1));
  if (index < 0) damaged(text, word, "is below 0");
  return word[0] == 'i' ? ~index : index;
}

TileInstruction parse_instruction(std::string_view text, std::string_view line, int index) {
  const std::vector<std::string_view> words = parts_of(line.substr(line.find('=') + 1), ' ');
  const auto op = words.empty() ? std::nullopt : find_op(words[0]);
  if (!op || !is_elementwise(*op)) damaged(text, line, "is no elementwise op");
  TileInstruction t{*op, {}, {}};
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string_view word = words[i], key = word.substr(0, word.find('='));
    if (key.size() == word.size()) {
      t.args.push_back(parse_argument(text, word));
      continue;
    }
    const std::string_view value = word.substr(key.size() + 1);
    t.attrs.set(key, key == "to" ? Attr(std::string(value)) : Attr(number_in<double>(text, word, value)));
  }
  if (std::ssize(t.args) != op_row(t.op).min_inputs) damaged(text, line, "has another number of arguments than its op");
  if (std::ranges::any_of(t.args, [&](int arg) { return arg >= index; })) damaged(text, line, "reads a result that is not there yet");
  if (const auto error = attrs_error(t.op, t.attrs)) damaged(text, line, *error);
  return t;
}

}  // namespace

TileText::TileText(std::string_view text) {
  for (const std::string_view line : parts_of(text, ';'))
    instructions_.push_back(parse_instruction(text, line, static_cast<int>(instructions_.size())));
  if (instructions_.empty()) throw InternalError("tile program: empty");
}

int64_t TileText::inputs() const {
  int64_t count = 0;
  for (const TileInstruction& t : instructions_)
    for (int64_t arg : t.args) count = std::max(count, -arg);
  return count;
}

std::string TileText::text() const {
  std::string out;
  for (size_t i = 0; i < instructions_.size(); ++i) {
    const TileInstruction& t = instructions_[i];
    out += cat(i ? ";" : "", "t", i, "=", op_name(t.op));
    for (int arg : t.args) out += arg < 0 ? cat(" i", ~arg) : cat(" t", arg);
    for (const auto& [key, value] : t.attrs.items())
      out += cat(" ", key, "=", std::holds_alternative<std::string>(value) ? std::get<std::string>(value) : number_text(std::get<double>(value)));
  }
  return out;
}

Value TileText::emit(Builder& b, const std::vector<Value>& inputs) const {
  std::vector<Value> results;
  for (const TileInstruction& t : instructions_) {
    std::vector<Value> args;
    args.reserve(t.args.size());
    for (int arg : t.args) {
      const int input = ~arg;
      args.push_back(arg < 0 ? b.cast(inputs.at(static_cast<size_t>(input)), DType::float32) : results.at(static_cast<size_t>(arg)));
    }
    // A cast inside a chain rounds to the narrow type and goes on in float32.
    Value v = t.op == Op::cast ? b.cast(b.cast(args[0], parse_dtype(t.attrs.text("to"))), DType::float32) : b.emit(t.op, args, t.attrs);
    results.push_back(v);
  }
  return results.back();
}

}  // namespace vivace
