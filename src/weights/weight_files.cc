#include "weights/weight_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "vivace/error.h"
#include "weights/tensor_file.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

struct Stem {
  std::string_view name;
  bool index_first;  // Diffusers prefers an index over a single file, transformers the file
};
constexpr std::array<Stem, 2> kStems{{{"diffusion_pytorch_model", true}, {"model", false}}};

std::optional<WeightFiles> find(const fs::path& folder, const Stem& stem, std::string_view variant) {
  const std::string dotted = variant.empty() ? "" : cat(".", variant);
  const WeightFiles single{folder / cat(stem.name, dotted, ".safetensors"), false, !variant.empty()};
  const WeightFiles index{folder / cat(stem.name, ".safetensors.index", dotted, ".json"), true, !variant.empty()};
  const WeightFiles old_index{folder / cat(stem.name, ".safetensors", dotted, ".index.json"), true, !variant.empty()};
  const std::array candidates = stem.index_first ? std::array{index, old_index, single} : std::array{single, index, old_index};
  for (const WeightFiles& files : candidates) {
    std::error_code ignored;
    if (fs::exists(files.path, ignored)) return files;
  }
  return std::nullopt;
}

// "fp16" when `file` is <stem>.fp16.safetensors or <stem>.safetensors.index.fp16.json; empty otherwise.
std::string variant_of(std::string_view file) {
  for (const Stem& stem : kStems)
    for (const auto& [before, behind] :
         {std::pair{cat(stem.name, "."), std::string(".safetensors")}, std::pair{cat(stem.name, ".safetensors.index."), std::string(".json")}})
      if (file.size() > before.size() + behind.size() && file.starts_with(before) && file.ends_with(behind)) {
        const std::string_view middle = file.substr(before.size(), file.size() - before.size() - behind.size());
        if (middle.find('.') == middle.npos && middle.find("-of-") == middle.npos) return std::string(middle);
      }
  return "";
}

[[noreturn]] void none_found(const fs::path& folder, std::string_view variant) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  const std::string where = cat(folder.string(), ": no weights found", variant.empty() ? "" : cat(" for variant \"", variant, "\" nor without"));
  const auto first = [&](auto matches) {
    const auto it = std::ranges::find_if(names, matches);
    return it == names.end() ? std::string() : *it;
  };
  if (const std::string other = first([](const std::string& n) { return !variant_of(n).empty(); }); !other.empty())
    throw UserError(cat(where, ", but there is ", other, ": ask for variant \"", variant_of(other), "\""));
  const std::string expected = "expected diffusion_pytorch_model.safetensors, model.safetensors or an index such as model.safetensors.index.json";
  if (const std::string other = first([](const std::string& n) { return n.ends_with(".safetensors"); }); !other.empty())
    throw UserError(cat(where, ": ", expected, ", found ", other));
  for (const char* extension : {".bin", ".ckpt", ".pt", ".pth"})
    if (const std::string other = first([&](const std::string& n) { return n.ends_with(extension); }); !other.empty())
      throw UserError(cat(where, " that can be read, only ", other, ": a pickle is not opened, since reading one can run code that it holds: ",
                          kConvertPickle, ", or load the pipeline there and call save_pretrained(folder, safe_serialization=True)"));
  for (const char* extension : {".msgpack", ".h5", ".gguf", ".onnx"})
    if (const std::string other = first([&](const std::string& n) { return n.ends_with(extension); }); !other.empty())
      throw UserError(
          cat(where, " that can be read, only ", other,
              ": convert it to safetensors first (in Python: load the pipeline and call save_pretrained(folder, safe_serialization=True))"));
  throw UserError(cat(where, ": ", expected));
}

}  // namespace

WeightFiles find_weight_files(const fs::path& folder, std::string_view variant) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) throw UserError(cat(folder.string(), ": folder not found: expected the folder of a model component"));
  if (!fs::is_directory(folder, ignored)) throw UserError(cat(folder.string(), ": expected a folder or a .safetensors file"));
  if (variant.find('/') != variant.npos) throw UsageError(cat("variant \"", variant, "\": expected a name such as fp16"));
  if (!variant.empty()) {
    for (const Stem& stem : kStems)
      if (auto files = find(folder, stem, variant)) return *files;
  }
  for (const Stem& stem : kStems)
    if (auto files = find(folder, stem, "")) return *files;
  std::error_code unreadable;
  const fs::directory_iterator entries(folder, unreadable);
  if (unreadable) throw UserError(cat(folder.string(), ": cannot be read: ", unreadable.message()));
  none_found(folder, variant);
}

}  // namespace vivace
