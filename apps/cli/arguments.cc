#include "arguments.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <string_view>
#include <utility>

#include "vivace/error.h"

namespace vivace::cli {
namespace {

constexpr size_t kHelpColumn = 34, kHelpWidth = 120;
// In the order of Group.
constexpr std::array<const char*, 9> kTitles{"Options",          "What to draw", "Tensors, as .npy files", "Model", "Sampling", "Speed",
                                             "Memory and cache", "Output",       "Every command"};

// "-5 apples" and "-" are texts.
bool is_option(const std::string& word) {
  if (word.size() < 2 || word[0] != '-') return false;
  return word.starts_with("--") ? word.size() > 2 && std::isalpha(static_cast<unsigned char>(word[2]))
                                : std::isalpha(static_cast<unsigned char>(word[1]));
}

// `head`, and `help` in lines behind it.
std::string help_line(const std::string& head, const std::string& help) {
  std::string text = "  " + head;
  if (text.size() + 2 > kHelpColumn) text += '\n';
  size_t column = text.ends_with('\n') ? 0 : text.size();
  std::string space;
  for (const std::string& word : split(help, ' ')) {
    if (column < kHelpColumn) {
      text.append(kHelpColumn - column, ' ');
      column = kHelpColumn;
    } else if (column + 1 + word.size() > kHelpWidth) {
      text += '\n' + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    } else {
      text += ' ';
      ++column;
    }
    text += word;
    column += word.size();
  }
  return text + '\n';
}

// Characters put in, left out or changed between the two, whatever their case.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const bool same = std::tolower(static_cast<unsigned char>(a[i])) == std::tolower(static_cast<unsigned char>(b[j]));
      diagonal = std::exchange(row[j + 1], std::min({row[j + 1] + 1, row[j] + 1, diagonal + !same}));
    }
  }
  return row.back();
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

}  // namespace

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

Option& Option::required() {
  required_ = true;
  return *this;
}

Option& Option::show_default() {
  default_ = value_text_();
  return *this;
}

Option& Option::hidden() {
  hidden_ = true;
  return *this;
}

Option& Option::takes(size_t values) {
  takes_ = values;
  many_ = false;
  type_ = type_ == "TEXT" ? "TEXT TEXT" : "N N";
  return *this;
}

Option& Option::implies(std::string value) {
  implied_ = std::move(value);
  type_.clear();
  return *this;
}

Option& Option::excludes(const Option& other) {
  excluded_.push_back(&other);
  return *this;
}

std::vector<std::string> Option::words() const {
  if (takes_ == 0) return {name()};
  std::vector<std::string> words;
  if (takes_ == 1)
    for (const std::string& value : values_) words.push_back(name() + "=" + value);
  else {
    words = values_;
    words.insert(words.begin(), name());
  }
  return words;
}

Arguments::Arguments(std::string name, std::string what, Arguments* outer) : name_(std::move(name)), what_(std::move(what)), outer_(outer) {
  group_ = Group::every_command;
  add_action(
      "--help,-h", [this] { throw Printed{help()}; }, "Print this");
  if (outer_) group_ = Group::own;
}

Arguments* Arguments::add_subcommand(const std::string& name, const std::string& what) { return &commands_.emplace_back(name, what, this); }

Option& Arguments::add(const std::string& names, const std::string& help, std::string type) {
  Option& option = options_.emplace_back();
  option.names_ = split(names, ',');
  option.help_ = help;
  option.type_ = std::move(type);
  option.group_ = group_;
  return option;
}

Option& Arguments::add_flag(const std::string& names, bool& variable, const std::string& help) {
  Option& option = add(names, help, "");
  option.takes_ = 0;
  option.store_ = [&variable](const Option&) { variable = true; };
  return option;
}

Option& Arguments::add_action(const std::string& names, std::function<void()> action, const std::string& help) {
  Option& option = add(names, help, "");
  option.takes_ = 0;
  option.on_seen_ = std::move(action);
  return option;
}

void Arguments::parse(std::span<const std::string> words) {
  bool texts_only = false;
  for (size_t i = 0; i < words.size();) {
    if (!texts_only && is_option(words[i])) {
      i = take_option(words, i);
      continue;
    }
    const std::string& word = words[i++];
    if (!texts_only && word == "--") {
      texts_only = true;
      continue;
    }
    if (commands_.empty()) {
      take_text(word);
      continue;
    }
    if (word == "help" && !outer_) {  // as git and others have it
      throw Printed{i < words.size() ? command(words[i]).help() : help()};
    }
    Arguments& chosen = command(word);
    chosen_ = &chosen;
    return chosen.parse(words.subspan(i));
  }
  if (!commands_.empty()) fail("expected a subcommand");
  finish();
}

Arguments& Arguments::command(const std::string& name) {
  const auto found = std::ranges::find(commands_, name, &Arguments::name_);
  if (found == commands_.end()) fail(cat("unknown subcommand \"", name, "\""));
  return *found;
}

Option* Arguments::find(const std::string& name) {
  const auto found = std::ranges::find_if(options_, [&](const Option& o) { return std::ranges::count(o.names_, name) > 0; });
  return found != options_.end() ? &*found : outer_ ? outer_->find(name) : nullptr;
}

void Arguments::seen(Option& option) {
  ++option.count_;
  if (option.on_seen_) option.on_seen_();
  if (option.count_ > 1 && !option.many_ && option.takes_ > 0) fail(cat(option.name(), " is given several times: expected once"));
}

// A word that begins with an option, and its values; where the next word stands.
size_t Arguments::take_option(std::span<const std::string> words, size_t at) {
  const std::string& word = words[at++];
  const bool is_long = word.starts_with("--");
  const size_t end = is_long ? word.find('=') : 2;
  Option* option = find(word.substr(0, end));
  if (!option) fail(cat("unknown option \"", word.substr(0, end), '"', nearest(word.substr(0, end)), " (a text that begins with - goes behind --)"));
  seen(*option);
  if (option->takes_ == 0) {
    if (is_long && end != std::string::npos) fail(cat(option->name(), " takes no value, got \"", word.substr(end + 1), '"'));
    if (is_long || word.size() == 2) return at;
    const std::string rest = "-" + word.substr(2);  // -qv
    take_option({&rest, 1}, 0);
    return at;
  }
  const bool attached = is_long ? end != std::string::npos : word.size() > 2;
  if (attached)
    option->values_.push_back(word.substr(is_long || word[end] == '=' ? end + 1 : end));
  else if (!option->implied_.empty())
    option->values_.push_back(option->implied_);
  const size_t wanted = option->takes_ - (attached || !option->implied_.empty() ? 1 : 0);
  if (words.size() - at < wanted) fail(cat(option->name(), " needs ", option->takes_ == 1 ? "a value" : cat(option->takes_, " values")));
  for (size_t i = 0; i < wanted; ++i) {
    if (option->takes_ > 1 && is_option(words[at])) fail(cat(option->name(), " needs ", option->takes_, " values"));
    option->values_.push_back(words[at++]);
  }
  return at;
}

void Arguments::take_text(const std::string& word) {
  const auto place = std::ranges::find_if(options_, [](const Option& o) { return o.is_text() && (o.many_ || !o.given()); });
  if (place == options_.end()) fail(cat("unexpected text \"", word, '"'));
  ++place->count_;
  place->values_.push_back(word);
}

void Arguments::finish() {
  for (const Option& option : options_) {
    if (option.required_ && !option.given()) fail(cat(option.is_text() ? upper(option.name()) : option.name(), " is missing: ", option.help_));
    for (const Option* other : option.excluded_)
      if (option.given() && other->given()) fail(cat(option.name(), " and ", other->name(), " do not go together: leave one of them out"));
    if (option.given() && option.store_) option.store_(option);
  }
  if (outer_) outer_->finish();
}

// ": is it --seed?"; empty where nothing is near.
std::string Arguments::nearest(const std::string& word) const {
  size_t best = 3;  // changes that a slip of the keyboard makes, and one more
  std::string found;
  for (const Arguments* from = this; from; from = from->outer_)
    for (const Option& option : from->options_)
      for (const std::string& name : option.names_)
        if (const size_t changes = edits(word, name); !option.hidden_ && name.starts_with("--") && changes < best) best = changes, found = name;
  return found.empty() ? "" : cat(": is it ", found, '?');
}

std::string Arguments::path() const { return outer_ ? outer_->path() + ' ' + name_ : name_; }

void Arguments::fail(const std::string& what) const {
  std::string known;
  for (const Arguments& command : commands_) known += (known.empty() ? ": expected one of " : ", ") + command.name_;
  throw UsageError(cat(what, known, " (see ", path(), " --help)"));
}

std::vector<const Option*> Arguments::options() const {
  std::vector<const Option*> list;
  list.reserve(options_.size());
  for (const Option& option : options_) list.push_back(&option);
  return list;
}

const Option& Arguments::option(const std::string& name) const {
  const auto found = std::ranges::find_if(options_, [&](const Option& o) { return o.name() == name; });
  if (found == options_.end()) throw InternalError(cat(path(), " has no ", name));
  return *found;
}

std::string Arguments::help() const {
  std::string text = what_ + "\n\nUsage: " + path();
  for (const Option& option : options_)
    if (option.is_text())
      text += (option.required_ ? " " : " [") + upper(option.name()) + (option.many_ ? "..." : "") + (option.required_ ? "" : "]");
  text += (commands_.empty() ? " [OPTIONS]\n" : " SUBCOMMAND [OPTIONS]\n");
  if (!commands_.empty()) text += "\nSubcommands\n";
  for (const Arguments& command : commands_) text += help_line(command.name_, command.what_);
  for (size_t group = 0; group < kTitles.size(); ++group) {
    std::string lines;
    for (const Arguments* from : {this, static_cast<const Arguments*>(outer_)}) {
      if (!from) continue;
      for (const Option& option : from->options_) {
        const bool shadowed = from != this && std::ranges::count(options_, option.name(), &Option::name) > 0;
        if (option.hidden_ || shadowed || static_cast<size_t>(option.group_) != group) continue;
        std::string head = option.is_text() ? upper(option.name()) : option.name();
        if (option.names_.size() > 1) head = option.names_[1] + ", " + head;
        if (!option.is_text() && !option.type_.empty()) head += ' ' + option.type_;
        if (!option.implied_.empty()) head += "[=TEXT]";
        lines += help_line(head, option.help_ + (option.required_          ? " (required)"
                                                 : option.default_.empty() ? ""
                                                                           : " (default: " + option.default_ + ')'));
      }
    }
    if (!lines.empty()) text += std::string("\n") + kTitles[group] + '\n' + lines;
  }
  return text;
}

}  // namespace vivace::cli
