#include "ops/tile_program.h"

#include <charconv>
#include <sstream>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::string real_text(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

// As real_text() writes it; std::stod would read it by the locale of the program.
double parse_real(const std::string& word, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || *end) throw InternalError(cat("tile program: \"", word, "\" in \"", text, "\" is no number"));
  return value;
}

int parse_argument(const std::string& word, std::string_view text) {
  int index = 0;
  const auto [end, error] = std::from_chars(word.data() + 1, word.data() + word.size(), index);
  if (word.size() < 2 || (word[0] != 'i' && word[0] != 't') || error != std::errc() || *end)
    throw InternalError(cat("tile program: \"", word, "\" in \"", text, "\""));
  return word[0] == 'i' ? ~index : index;
}

}  // namespace

TileText::TileText(std::string_view text) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line, ';');) {
    std::istringstream words(line.substr(line.find('=') + 1));
    std::string word;
    words >> word;
    const auto op = find_op(word);
    if (!op || !is_elementwise(*op)) throw InternalError(cat("tile program: \"", word, "\" is no elementwise op"));
    TileInstruction instruction{*op, {}, {}};
    while (words >> word) {
      if (const size_t equals = word.find('='); equals != std::string::npos) {
        const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
        if (key == "to")
          instruction.attrs.set(key, value);
        else
          instruction.attrs.set(key, parse_real(value, text));
      } else {
        instruction.args.push_back(parse_argument(word, text));
      }
    }
    instructions_.push_back(std::move(instruction));
  }
  if (instructions_.empty()) throw InternalError("tile program: empty");
}

std::string TileText::text() const {
  std::string out;
  for (size_t i = 0; i < instructions_.size(); ++i) {
    const TileInstruction& t = instructions_[i];
    out += cat(i ? ";" : "", "t", i, "=", op_name(t.op));
    for (int arg : t.args) out += arg < 0 ? cat(" i", ~arg) : cat(" t", arg);
    for (const auto& [key, value] : t.attrs.items())
      out += cat(" ", key, "=", std::holds_alternative<std::string>(value) ? std::get<std::string>(value) : real_text(std::get<double>(value)));
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
