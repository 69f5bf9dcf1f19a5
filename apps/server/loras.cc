#include "loras.h"

#include <algorithm>
#include <filesystem>

#include "base/joined.h"
#include "base/log.h"
#include "base/numbers.h"
#include "fields.h"
#include "vivace/error.h"

namespace vivace::server {

namespace fs = std::filesystem;

Loras::Loras(std::string folder) : folder_(std::move(folder)) {
  if (!folder_.empty() && !fs::is_directory(folder_)) throw UserError(cat("no folder at ", folder_, ": expected one with adapters (.safetensors)"));
  refresh();
}

std::vector<LoraEntry> Loras::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

void Loras::refresh() {
  if (folder_.empty()) return;
  std::vector<LoraEntry> found;
  std::error_code ignored;
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder_, fs::directory_options::skip_permission_denied, ignored))
    if (entry.is_regular_file(ignored) && entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  for (const fs::path& file : files) {
    const std::string name = file.stem().string();
    if (std::ranges::count(found, name, &LoraEntry::name) == 0)
      found.push_back({name, file.string()});
    else
      warn(file.string(), ": left out, since another adapter is called ", name);
  }
  const std::lock_guard lock(mutex_);
  entries_ = std::move(found);
}

void Loras::choose(std::vector<LoraChoice>& chosen, const std::string& name, double weight, const std::string& field) const {
  if (std::ranges::count(chosen, name, &LoraChoice::name) > 0)
    throw FieldError(field, cat(field, ": \"", name, "\" is there twice: expected each once"));
  const std::vector<LoraEntry> entries = this->entries();
  const auto found = std::ranges::find(entries, name, &LoraEntry::name);
  if (found != entries.end()) {
    try {
      chosen.push_back({found->name, found->path, weight, FileMap::open(found->path)->stamp()});
      return;
    } catch (const UserError& error) {
      throw FieldError(field, cat(field, ": ", error.what()));
    }
  }
  throw FieldError(field, cat(field, ": there is no adapter \"", name, "\": ",
                              entries.empty() ? "the server was started without --lora-dir, or there are none in it"
                                              : "expected one of " + joined(entries, ", ", &LoraEntry::name)));
}

std::vector<LoraChoice> take_loras(std::string& prompt, const Loras& loras) {
  static constexpr std::string_view kBegin = "<lora:";
  std::vector<LoraChoice> chosen;
  for (size_t begin = prompt.find(kBegin); begin != std::string::npos; begin = prompt.find(kBegin, begin)) {
    const size_t end = prompt.find('>', begin);
    if (end == std::string::npos) break;
    const std::string inside = prompt.substr(begin + kBegin.size(), end - begin - kBegin.size());
    const size_t colon = inside.find(':');
    double weight = 1;
    try {
      // A second number, which some clients write, is the text encoder's.
      if (colon != std::string::npos) weight = parse_number<double>(inside.substr(colon + 1, inside.find(':', colon + 1) - colon - 1), "prompt");
    } catch (const UsageError&) {
      throw FieldError("prompt", cat("prompt: \"<lora:", inside, ">\": expected a name and a weight, as in <lora:style:0.8>"));
    }
    loras.choose(chosen, inside.substr(0, colon), weight, "prompt");
    prompt.erase(begin, end + 1 - begin);
  }
  return chosen;
}

}  // namespace vivace::server
