// vivace make-random: a checkpoint with random weights from a folder of configs.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "commands.h"
#include "components/random_checkpoint.h"
#include "interrupt.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

namespace fs = std::filesystem;

struct MakeRandomFlags {
  std::string configs, out, dtype = "fp32", max_shard_size, tokenizers = default_model();
  uint32_t seed = 0;
};

// "5GB", "200MB", "1000000": as save_pretrained's max_shard_size.
int64_t shard_size(const std::string& text) {
  if (text.empty()) return 0;
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"KiB", 1024.}, {"MiB", 1048576.}, {"GiB", 1073741824.}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"", 1}};
  const auto& [unit, scale] = *std::ranges::find_if(kUnits, [&](const auto& u) { return text.ends_with(u.first); });
  const double bytes = parse_number<double>(text.substr(0, text.size() - unit.size()), "--max-shard-size") * scale;
  if (!(bytes >= 1 && bytes < 1e18)) throw UsageError(cat("--max-shard-size is \"", text, "\": expected a size such as 200MB or 5GB"));
  return static_cast<int64_t>(bytes);
}

// "T5Tokenizer" of "T5TokenizerFast" too; empty where model_index.json does not say.
std::string plain_class_of(const Config& index, const std::string& name) {
  if (!index.is_list(name)) return "";
  std::string found = index.get<std::vector<std::optional<std::string>>>(name).back().value_or("");
  return found.ends_with("Fast") ? found.substr(0, found.size() - 4) : found;
}

// The tokenizer that another checkpoint would lend: the one of that name, or where that is of another class one that is of this class.
fs::path lender(const fs::path& checkpoint, const std::string& name, const std::string& class_name) {
  if (!fs::exists(checkpoint / "model_index.json")) return checkpoint / name;
  const Config index = Config::read(checkpoint / "model_index.json");
  for (const std::string& other : {name, std::string("tokenizer"), std::string("tokenizer_2")})
    if (plain_class_of(index, other) == class_name) return checkpoint / other;
  return {};
}

// Tokenizers that model_index.json names and the configs lack come from another checkpoint, so that the result can take a prompt.
std::vector<std::string> borrow_tokenizers(const MakeRandomFlags& o, const Common& common) {
  std::vector<std::string> copied;
  const Config index = Config::read(fs::path(o.out) / "model_index.json");
  for (const char* name : {"tokenizer", "tokenizer_2"}) {
    const fs::path to = fs::path(o.out) / name;
    std::error_code error;
    if (!index.is_list(name) || fs::exists(to)) continue;
    const fs::path from = lender(o.tokenizers, name, plain_class_of(index, name));
    if (!fs::is_directory(from)) {
      warn(o.configs, " has no ", name, ", and ", o.tokenizers, " none of its class to copy: generate will need one (--tokenizers CHECKPOINT)");
      continue;
    }
    fs::copy(from, to, error);
    if (error) throw UserError(cat("cannot write ", to.string(), ": ", error.message()));
    copied.emplace_back(name);
    if (!common.quiet && !common.json)
      std::fprintf(stderr, "%s has no %s: %s was copied; its vocabulary is its own\n", o.configs.c_str(), name, from.c_str());
  }
  return copied;
}

int run_make_random(const MakeRandomFlags& o, const Common& common) {
  RandomCheckpointOptions options{
      .dtype = parse_dtype(o.dtype), .seed = o.seed, .max_shard_bytes = shard_size(o.max_shard_size), .on_tensor = nullptr};
  options.on_tensor = [](const std::string& component, const std::string& tensor) {
    if (interrupted()) throw Interrupted("stopped");
    info(component, ": ", tensor);
  };
  if (!is_folder(o.tokenizers)) throw UserError(cat("--tokenizers: no folder at ", o.tokenizers, ": expected a checkpoint"));
  std::vector<std::string> tokenizers;
  const Uninterrupted writing;
  const auto write = [&] {
    make_random_checkpoint(o.configs, o.out, options);
    tokenizers = borrow_tokenizers(o, common);
  };
  if (const int code = write_folder(o.out, write)) return code;
  if (common.json)
    print_json({{"files", {o.out}}, {"tokenizers_copied", tokenizers}});
  else if (!common.quiet)
    std::fprintf(stderr, "%s\n", o.out.c_str());
  return 0;
}

}  // namespace

Command add_make_random(Arguments& app, const Common& common) {
  auto o = std::make_shared<MakeRandomFlags>();
  Arguments* c = app.add_subcommand("make-random", "Write a checkpoint with random weights from a folder of configs");
  c->add_option("configs", o->configs, "Folder with model_index.json and the components' configs, such as assets/configs/sdxl-base").required();
  c->add_option("out", o->out, "Folder to write; weights already there are replaced").required();
  c->add_option("--dtype", o->dtype, "Of the stored weights: fp32, bf16 or fp16").show_default();
  c->add_option("--seed", o->seed, "Of the weights").show_default();
  c->add_option("--max-shard-size", o->max_shard_size, "Split a component's weights into files of at most this size, such as 2GB");
  c->add_option("--tokenizers", o->tokenizers, "Checkpoint to copy tokenizers from where the configs have none").show_default();
  return {c, [o, &common] { return run_make_random(*o, common); }};
}

}  // namespace vivace::cli
