// The command line of a command: what it takes, where values go, what --help says. Values are taken as they are: a prompt may stand in brackets, be
// empty, or be the name of a command; numbers are decimal. (Parsers from libraries read lists and octal numbers into them.)
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/numbers.h"

namespace vivace::cli {

// Where an option stands in --help, in this order.
enum class Group { own, draw, tensors, model, sampling, speed, memory, output, every_command };

// What --help or --version is to print: it ends the parsing wherever it stands.
struct Printed {
  std::string text;
};

class Option {
 public:
  Option& required();
  // In --help: the variable's value of now.
  Option& show_default();
  Option& hidden();
  // So many values, one behind the other: --original-size 512 768.
  Option& takes(size_t values);
  // The value of the option alone; another is given with "=".
  Option& implies(std::string value);
  // An error when both are given.
  Option& excludes(const Option& other);

  // "--seed"; without dashes where it is a text.
  const std::string& name() const { return names_[0]; }
  bool is_text() const { return names_[0][0] != '-'; }
  bool given() const { return count_ > 0; }
  // As they were given.
  const std::vector<std::string>& values() const { return values_; }
  // What gives it again.
  std::vector<std::string> words() const;

 private:
  friend class Arguments;
  std::vector<std::string> names_;
  std::string help_, type_, default_, implied_;
  Group group_ = Group::own;
  bool required_ = false, hidden_ = false, many_ = false;
  size_t takes_ = 1;  // 0: a flag
  int count_ = 0;
  std::vector<std::string> values_;
  std::vector<const Option*> excluded_;
  std::function<void()> on_seen_;
  std::function<void(const Option&)> store_;
  std::function<std::string()> value_text_;
};

// Of one value.
template <class T>
void read_value(const std::string& value, const std::string& name, T& to) {
  if constexpr (std::is_same_v<T, std::string>)
    to = value;
  else if constexpr (requires {
                       to.emplace();
                       to.has_value();
                     })
    read_value(value, name, to.emplace());
  else
    to = parse_number<T>(value, name);
}

std::vector<std::string> split(const std::string& text, char separator);

class Arguments {
 public:
  // `outer`: the program of a command, whose options it takes as well.
  explicit Arguments(std::string name, std::string what = "", Arguments* outer = nullptr);
  Arguments(const Arguments&) = delete;

  Arguments* add_subcommand(const std::string& name, const std::string& what);
  // Of the options added from now on.
  void group(Group group) { group_ = group; }
  // `names`: "--output,-o", or "text" for what stands without a name. `variable`: a string, a number, or an optional one of these, given once;
  // strings, given any number of times; numbers, as a list with commas. It keeps its value when the option is not given.
  template <class T>
  Option& add_option(const std::string& names, T& variable, const std::string& help);
  Option& add_flag(const std::string& names, bool& variable, const std::string& help);
  // Runs when the parser comes by.
  Option& add_action(const std::string& names, std::function<void()> action, const std::string& help);

  // Of the words behind the name. Throws UsageError, Printed.
  void parse(std::span<const std::string> words);
  // The command that was given.
  const Arguments* chosen() const { return chosen_; }
  std::string help() const;
  std::vector<const Option*> options() const;
  // One of them; it must be there.
  const Option& option(const std::string& name) const;

 private:
  Option& add(const std::string& names, const std::string& help, std::string type);
  Arguments& command(const std::string& name);
  Option* find(const std::string& name);
  size_t take_option(std::span<const std::string> words, size_t at);
  void take_text(const std::string& word);
  void seen(Option& option);
  void finish();
  std::string nearest(const std::string& word) const;
  std::string path() const;
  [[noreturn]] void fail(const std::string& what) const;

  std::string name_, what_;
  Arguments* outer_;
  Group group_ = Group::own;
  std::deque<Option> options_;
  std::deque<Arguments> commands_;
  const Arguments* chosen_ = nullptr;
};

template <class T>
Option& Arguments::add_option(const std::string& names, T& variable, const std::string& help) {
  if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    Option& option = add(names, help, "TEXT");
    option.many_ = true;
    option.store_ = [&variable](const Option& o) { variable = o.values_; };
    return option;
  } else if constexpr (requires {
                         variable.push_back({});
                         typename T::value_type;
                       } &&
                       !std::is_same_v<T, std::string>) {
    Option& option = add(names, help, "N,...");
    option.store_ = [&variable](const Option& o) {
      variable.clear();
      for (const std::string& value : o.takes_ > 1 ? o.values_ : split(o.values_[0], ',')) read_value(value, o.name(), variable.emplace_back());
    };
    return option;
  } else {
    constexpr bool is_text = std::is_constructible_v<T, const char*>;
    Option& option = add(names, help, is_text ? "TEXT" : "N");
    option.store_ = [&variable](const Option& o) { read_value(o.values_[0], o.name(), variable); };
    if constexpr (std::is_same_v<T, std::string>)
      option.value_text_ = [&variable] { return variable; };
    else if constexpr (std::is_arithmetic_v<T>)
      option.value_text_ = [&variable] { return cat(variable); };
    return option;
  }
}

}  // namespace vivace::cli
