#include "components/package.h"

#include <nlohmann/json.hpp>

#include "backends/devices.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/plan_file.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// A file that package.json names must lie beside it.
fs::path inside(const fs::path& folder, const std::string& file, const std::string& where) {
  if (file.empty() || file.find('/') != file.npos || file == "..")
    throw UserError(cat(where, ": names the file \"", file, "\": expected one in the component's folder"));
  return folder / file;
}

}  // namespace

std::string package_isa() { return open_device()->target().level_name; }

std::shared_ptr<const ComponentPackage> ComponentPackage::find(const fs::path& component) {
  const fs::path whole = fs::absolute(component / "").parent_path(), folder = whole.parent_path();
  std::error_code ignored;
  if (!fs::exists(folder / kPackageFile, ignored)) return nullptr;
  const Config json = Config::read(folder / kPackageFile);
  if (const auto format = json.get<int64_t>("format"); format != kPackageFormat)
    throw UserError(cat(json.name(), ": the package has format ", format, ", this Vivace reads ", kPackageFormat, ": export it again"));
  if (const auto isa = json.get<std::string>("isa"); isa != package_isa())
    throw UserError(cat(json.name(), ": the package is for the instruction set ", isa, ", this machine runs ", package_isa(),
                        ": export it on a machine like this"));
  if (const auto packing = json.get<int64_t>("packing"); packing != kPackingVersion)
    throw UserError(cat(json.name(), ": the package was made by Vivace ", json.get<std::string>("vivace"), ", whose kernels pack weights in version ",
                        packing, ", this one's in ", kPackingVersion, ": export it again"));
  auto package = std::make_shared<ComponentPackage>();
  package->folder_ = folder;
  package->name_ = whole.filename().string();
  package->dtype_ = parse_dtype(json.one_of("dtype", {"float32", "bfloat16", "float16"}));
  const Config components = json.object("components");
  if (!components.has(package->name_)) throw UserError(cat(json.name(), ": the package has no component ", package->name_));
  const Config entry = components.object(package->name_);
  package->parameters_ = entry.get<int64_t>("parameters");
  package->dynamic_ = entry.get<bool>("dynamic");
  package->checkpoint_ = entry.get_or<std::string>("checkpoint", "");
  package->variant_ = entry.get_or<std::string>("variant", "");
  package->model_ = entry.get_or<std::string>("model", "");
  for (auto& [key, file] : entry.object("plans").string_fields()) package->plans_.emplace(key, file);
  return package;
}

std::optional<Plan> ComponentPackage::plan(const std::string& key, const Device& device) const {
  const auto found = plans_.find(key);
  if (found == plans_.end()) return std::nullopt;
  const fs::path path = inside(folder_ / name_, found->second, (folder_ / kPackageFile).string());
  return parse_plan(FileMap::open(path)->bytes(), path.string(), device);
}

void ComponentPackage::fail_without_plan(const std::string& wanted) const {
  std::string known;
  for (const auto& [key, file] : plans_) known += cat(known.empty() ? "" : "; ", key);
  throw UserError(cat(folder_.string(), ": the package has no plan of ", name_, " for ", wanted, "; it has: ", known, ". Export it for that size"));
}

std::shared_ptr<const FileMap> ComponentPackage::weights() const {
  return checkpoint_.empty() ? FileMap::open(folder_ / name_ / "weights.bin") : nullptr;
}

}  // namespace vivace
