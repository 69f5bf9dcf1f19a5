// The other files of a package: package.json and weights.bin. Any content gives a package, prepared weights that lie in their file, or a UserError.
// The first byte chooses the file, and for weights.bin whether the header is made to fit.
#include <stdlib.h>
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "backends/cpu/device.h"
#include "base/json.h"
#include "components/package.h"
#include "vivace/error.h"

namespace {

using namespace vivace;
namespace fs = std::filesystem;

void check(bool holds) {
  if (!holds) std::abort();
}

template <class Call>
void try_call(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

const fs::path& temp_folder() {
  static const fs::path folder = [] {
    std::string pattern = (fs::temp_directory_path() / "vivace-fuzz-XXXXXX").string();
    check(::mkdtemp(pattern.data()));
    fs::create_directory(fs::path(pattern) / "unet");
    return fs::path(pattern);
  }();
  static const int at_exit = std::atexit([] { fs::remove_all(temp_folder()); });
  check(at_exit == 0);
  return folder;
}

void read_package(const std::string& json) {
  std::ofstream(temp_folder() / kPackageFile, std::ios::binary) << json_text(json);
  try_call([] {
    const auto package = ComponentPackage::find(temp_folder() / "unet");
    check(package != nullptr);
    try_call([&] { package->plan("a", *cpu::device()); });
    try_call([&] { package->weights(); });
    try_call([&] { package->fail_without_plan("a"); });
  });
}

void read_weights(const std::string& file) {
  auto bytes = std::make_shared<std::string>(file);
  try_call([&] {
    const auto constants = ConstantFile::open(std::as_bytes(std::span(*bytes)), bytes, "fuzz");
    Hash128 first;  // the id of the first entry, where there is one
    if (bytes->size() >= 48) std::memcpy(&first, bytes->data() + 32, sizeof(first));
    for (const Hash128& id : {Hash128{}, first})
      for (size_t size : {0, 1, 64})
        if (const ConstantFile::Entry* found = constants->find(id, size)) {
          const auto* at = static_cast<const char*>(constants->data(*found).get());
          check(at >= bytes->data() && at + size <= bytes->data() + bytes->size());
          (void)constants->is_whole(*found);
        }
  });
}

// A header of the format's for these entries and constants.
std::string with_header(std::string rest, uint32_t count) {
  const size_t entries = std::min<size_t>(rest.size(), size_t{count} * 40);
  const uint32_t version = kConstantFileVersion;
  const uint64_t bytes = 32 + rest.size(), checksum = XXH3_64bits(rest.data(), entries);
  std::string header = "VIVACEWT";
  const auto add = [&](const auto& number) { header.append(reinterpret_cast<const char*>(&number), sizeof(number)); };
  add(version), add(count), add(bytes), add(checksum);
  return header + rest;
}

// As package.json must begin to be read on.
std::string as_package(const std::string& fields) {
  return R"({"format": )" + std::to_string(kPackageFormat) + R"(, "isa": ")" + package_isa() + R"(", "packing": )" + std::to_string(kPackingVersion) +
         R"(, "dtype": "float32", "components": {"unet": {)" + fields + "}}}";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  switch (data[0] % 4) {
    case 0:
      read_package(rest);
      break;
    case 1:
      read_package(as_package(rest));
      break;
    case 2:
      read_weights(rest);
      break;
    default:
      read_weights(with_header(rest, data[1] % 8));
  }
  return 0;
}
