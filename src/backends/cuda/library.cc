#include "backends/cuda/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <functional>

#include "base/joined.h"

namespace vivace::cuda {

Library::Library(std::string_view who, const std::vector<std::string>& names, std::string_view what_to_do) : who_(who) {
  for (const std::string& name : names) {
    name_ = name;
    if ((handle_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL))) return;
  }
  throw UserError(cat(who_, ": there is no ", joined(names, " or ", std::identity{}), ": ", what_to_do));
}

void* Library::symbol(const char* name) const {
  void* found = ::dlsym(handle_, name);
  if (!found) throw UserError(cat(who_, ": ", name_, " has no ", name, ": a newer one is needed (CUDA 12.4)"));
  return found;
}

std::vector<std::string> names_by_toolkit(std::string_view name, int driver) {
  constexpr int kOldest = 12;
  std::vector<std::string> names;
  for (int major = std::max(driver, kOldest); major >= kOldest; --major) names.push_back(cat(name, '.', major));
  return names;
}

std::unique_ptr<const Library> find_library(const std::vector<std::string>& names, std::string_view what_to_do) {
  try {
    return std::make_unique<const Library>("cuda", names, what_to_do);
  } catch (const UserError& error) {
    info(error.what());
    return nullptr;
  }
}

}  // namespace vivace::cuda
