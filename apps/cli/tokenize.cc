// vivace tokenize: a text's token ids and tokens.
#include <memory>
#include <optional>

#include "base/json.h"
#include "base/log.h"
#include "commands.h"
#include "output.h"
#include "pipelines/checkpoint_files.h"
#include "tokenizers/tokenizer.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct TokenizeFlags {
  std::string model = default_model(), text;
  int tokenizer = 1;
  bool padded = false;
};

// Of the class that model_index.json names.
std::shared_ptr<const Tokenizer> open_tokenizer(const TokenizeFlags& o) {
  const CheckpointFiles files(o.model, {});
  const Config index = Config::read(files.configs() / "model_index.json");
  const std::string name = o.tokenizer == 2 ? "tokenizer_2" : "tokenizer";
  const auto entry = index.is_list(name) ? index.get<std::vector<std::optional<std::string>>>(name) : std::vector<std::optional<std::string>>{};
  if (entry.size() != 2 || !entry[1]) throw UserError(cat(index.name(), ": the model has no ", name));
  if (!is_tokenizer(*entry[1])) throw UserError(cat(index.name(), ": field \"", name, "\": no tokenizer that is known is called ", *entry[1]));
  return vivace::open_tokenizer(*entry[1], files.tokenizer(name));
}

int run_tokenize(const TokenizeFlags& o, const Common& common) {
  if (o.tokenizer != 1 && o.tokenizer != 2) throw UsageError(cat("--tokenizer is ", o.tokenizer, ": expected 1 or 2"));
  const std::shared_ptr<const Tokenizer> tokenizer = open_tokenizer(o);
  Tokenizer::Encoding encoding = tokenizer->encode(o.text);
  if (!encoding.truncated.empty())
    warn("the prompt is longer than ", tokenizer->model_max_length(), " tokens; this was cut: \"", encoding.truncated, '"');
  if (!o.padded) {
    const auto begin = encoding.ids.begin() + encoding.begin;
    encoding.ids = {begin, begin + encoding.length};
  }
  std::vector<std::string> tokens;
  tokens.reserve(encoding.ids.size());
  for (int32_t id : encoding.ids) tokens.push_back(tokenizer->token(id));
  if (common.json) {
    print_json({{"ids", encoding.ids}, {"tokens", tokens}, {"length", encoding.length}, {"truncated", encoding.truncated}});
    return 0;
  }
  Table table({"id", "token"});
  for (size_t i = 0; i < tokens.size(); ++i) table.add({std::to_string(encoding.ids[i]), tokens[i]});
  print(table.text());
  return 0;
}

}  // namespace

Command add_tokenize(Arguments& app, const Common& common) {
  auto o = std::make_shared<TokenizeFlags>();
  Arguments* c = app.add_subcommand("tokenize", "A text's token ids and tokens, by the checkpoint's tokenizer: CLIP's, T5's or Llama's");
  c->add_option("text", o->text, "The text").required();
  c->add_option("--model", o->model, "Checkpoint: a folder in Diffusers layout, or one file").show_default();
  c->add_option("--tokenizer", o->tokenizer, "1 or 2").show_default();
  c->add_flag("--padded", o->padded, "With the padding up to the model's length");
  return {c, [o, &common] { return run_tokenize(*o, common); }};
}

}  // namespace vivace::cli
