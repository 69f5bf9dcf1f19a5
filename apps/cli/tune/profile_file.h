// The file that `vivace tune` writes: a usable profile (vivace/profile.h) at any time, and beside it what has been measured so far.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "tune/measured.h"
#include "vivace/pipeline.h"

namespace vivace::cli {

class ProfileFile {
 public:
  // Goes on with the file where there is one. `asked`: what measurements depend on; a file for anything else is refused with a UserError that
  // names the difference, as is one that is no profile.
  ProfileFile(std::filesystem::path path, nlohmann::json asked);

  std::optional<Measured> find(const std::string& candidate) const;
  // Writes the file.
  void add(const std::string& candidate, const Measured& measured);
  // What a pipeline is to be loaded with from now on, why, and what it gave; writes the file.
  void choose(const PretrainedOptions& setting, const std::vector<std::string>& candidates, const Measured& measured);

 private:
  void write() const;

  std::filesystem::path path_;
  nlohmann::json asked_, chosen_ = nlohmann::json::object();
  std::map<std::string, Measured> measured_;
};

// Warns where a profile was tuned with another model: what it gains there, and how far pictures drift, was not measured.
void check_profile_model(const Config& profile, const std::string& model);

}  // namespace vivace::cli
