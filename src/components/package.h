// A package: what `vivace export` writes. A folder in Diffusers layout whose components hold plans and prepared weights in place of a checkpoint.
//
//   package.json            format, instruction set, dtype, sizes; for each component its plans by key, its prepared weights or the checkpoint's
//   folder model_index.json, scheduler/, tokenizer/, tokenizer_2/     as in the checkpoint unet/config.json, unet/plan-0.bin, ..., unet/weights.bin
//   (plan_file.h, constant_file.h)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/file_map.h"
#include "runtime/device.h"
#include "runtime/plan.h"
#include "vivace/dtype.h"

namespace vivace {

inline constexpr int kPackageFormat = 1;
inline constexpr const char* kPackageFile = "package.json";
// How the kernels pack weights: one more when any of them does it otherwise, so that a package outlives builds that pack alike. (Plans have a version
// of their own, kPlanFileVersion.) A test compares what they pack with tests/compiler/data/packing.txt, and fails when this was forgotten.
inline constexpr int64_t kPackingVersion = 2;

// One component of a package, read and checked but for the plans and weights themselves.
class ComponentPackage {
 public:
  // nullptr where the folder above `component` is no package. Throws UserError: damaged, another format, made for another instruction set or by a
  // Vivace that packs otherwise, no such component in it.
  static std::shared_ptr<const ComponentPackage> find(const std::filesystem::path& component);

  DType dtype() const { return dtype_; }
  bool dynamic() const { return dynamic_; }  // its plans are for any size
  int64_t parameters() const { return parameters_; }
  // Where the component's weights lie; empty where they are in the package.
  const std::filesystem::path& checkpoint() const { return checkpoint_; }
  const std::string& variant() const { return variant_; }  // of its files
  const std::string& model() const { return model_; }      // what model_hash says of it
  // nullopt where there is none for `key`. Throws UserError when the file is damaged.
  std::optional<Plan> plan(const std::string& key, const Device& device) const;
  // Throws UserError that names `wanted` and the plans that there are.
  [[noreturn]] void fail_without_plan(const std::string& wanted) const;
  // The file of its prepared weights (constant_file.h); nullptr where the package holds none.
  std::shared_ptr<const FileMap> weights() const;

 private:
  std::filesystem::path folder_;  // of the package
  std::string name_;              // of the component
  DType dtype_ = DType::float32;
  bool dynamic_ = false;
  int64_t parameters_ = 0;
  std::filesystem::path checkpoint_;
  std::string variant_, model_;
  std::map<std::string, std::string> plans_;  // key -> file in the component's folder
};

// What package.json says of the machine it is for, which must be equal where it is read.
std::string package_isa();

}  // namespace vivace
