#include <charconv>
#include <map>

#include "base/log.h"
#include "ir/graph.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A recursive-descent reader of the format that print.cc writes.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph run() {
    while (skip_blank(), pos_ < text_.size()) {
      if (accept("return"))
        outputs();
      else
        node();
    }
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(pos_), '\n');
    throw UserError(cat("graph text, line ", line, ": expected ", expected, " at \"", text_.substr(pos_, 20), "\""));
  }
  void skip_space() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t')) ++pos_;
  }
  void skip_blank() {
    while (pos_ < text_.size()) {
      if (text_[pos_] == '#')
        while (pos_ < text_.size() && text_[pos_] != '\n') ++pos_;
      else if (std::isspace(static_cast<unsigned char>(text_[pos_])))
        ++pos_;
      else
        return;
    }
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!text_.substr(pos_).starts_with(token)) return false;
    pos_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail("\"" + std::string(token) + "\"");
  }
  std::string word() {
    skip_space();
    const size_t begin = pos_;
    while (pos_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[pos_])) || text_[pos_] == '_')) ++pos_;
    if (begin == pos_) fail("a name");
    return std::string(text_.substr(begin, pos_ - begin));
  }
  int64_t integer() {
    skip_space();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + pos_, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("an integer");
    pos_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  NodeId reference() {
    expect("%");
    const auto found = ids_.find(integer());
    if (found == ids_.end()) fail("a value defined above");
    return found->second;
  }
  std::vector<int64_t> integers() {
    std::vector<int64_t> values;
    expect("[");
    while (!accept("]")) {
      values.push_back(integer());
      accept(",");
    }
    return values;
  }
  Attr attr() {
    skip_space();
    if (pos_ < text_.size() && text_[pos_] == '[') return integers();
    if (accept("\"")) {
      std::string value;
      while (pos_ < text_.size() && text_[pos_] != '"') {
        if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) ++pos_;
        value += text_[pos_++];
      }
      expect("\"");
      return value;
    }
    const size_t begin = pos_;
    while (pos_ < text_.size() && text_[pos_] != ',' && text_[pos_] != ')') ++pos_;
    const std::string number(text_.substr(begin, pos_ - begin));
    if (number.find_first_of(".einf") == std::string::npos) {
      pos_ = begin;
      return integer();
    }
    double value = 0;  // std::stod would read it by the locale of the program
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || *end) fail("a number");
    return value;
  }
  void node() {
    expect("%");
    const int64_t name = integer();
    expect("=");
    Node node;
    const std::string op = word();
    const auto found = find_op(op);
    if (!found) fail("an op, got \"" + op + "\"");
    node.op = *found;
    expect("(");
    while (!accept(")")) {
      skip_space();
      if (pos_ < text_.size() && text_[pos_] == '%') {
        node.inputs.push_back(reference());
      } else if (text_.substr(pos_).starts_with("_,") || text_.substr(pos_).starts_with("_)")) {
        ++pos_;
        node.inputs.push_back(kNone);
      } else {
        const std::string key = word();
        expect("=");
        node.attrs.set(key, attr());
      }
      accept(",");
    }
    expect(":");
    node.dtype = parse_dtype(word());
    node.shape = integers();
    if (accept("@")) {
      const std::string phase = word();
      node.phase = phase == "prepare" ? Phase::prepare : phase == "setup" ? Phase::setup : Phase::step;
    }
    if (accept("#")) {
      skip_space();
      const size_t begin = pos_;
      while (pos_ < text_.size() && text_[pos_] != '\n') ++pos_;
      node.scope = text_.substr(begin, pos_ - begin);
    }
    ids_[name] = graph_.add(std::move(node));
  }
  void outputs() {
    do {
      const std::string name = word();
      expect("=");
      graph_.outputs.emplace_back(name, reference());
    } while (accept(","));
  }

  std::string_view text_;
  size_t pos_ = 0;
  Graph graph_;
  std::map<int64_t, NodeId> ids_;
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser(text).run(); }

}  // namespace vivace
