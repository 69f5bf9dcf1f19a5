// A library that is looked for at run time, so that a program built with CUDA starts where there is none. Once opened it stays until the
// process ends: NVIDIA's libraries keep memory and threads that they don't give back when they are closed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {

class Library {
 public:
  // The first of `names` that the loader finds. Throws UserError: "<who>: there is no <names>: <what to do>".
  Library(std::string_view who, const std::vector<std::string>& names, std::string_view what_to_do);
  Library(const Library&) = delete;

  // Throws UserError naming the library where it lacks the function.
  template <class Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  std::string who_, name_;
  void* handle_ = nullptr;
};

// "libnvrtc.so.13", "libnvrtc.so.12": of a library of the CUDA toolkit, what a driver of this major number of CUDA runs, the newest first.
std::vector<std::string> names_by_toolkit(std::string_view name, int driver);

// The same where it may be missing: nullptr, with an info line that says so.
std::unique_ptr<const Library> find_library(const std::vector<std::string>& names, std::string_view what_to_do);

// What `open` gives; nullptr, with a warning, where the library is there and cannot be used: one that does not fit the driver, or others of its own.
template <class Open>
auto opened(const Open& open) -> decltype(open()) {
  try {
    return open();
  } catch (const UserError& error) {
    warn(error.what(), ": own kernels take its place");
    return nullptr;
  }
}

}  // namespace vivace::cuda
