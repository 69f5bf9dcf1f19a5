#include "weights/weight_origins.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/files.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kUNet = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl/unet/diffusion_pytorch_model.safetensors";

CacheFolder cache_in(const TempFolder& folder) { return CacheFolder({.enabled = true, .folder = folder.path(), .max_bytes = 1'000'000}); }

// Of all tensors of the file, by name.
std::map<std::string, Hash128> origins(const fs::path& path, const CacheFolder& cache) {
  const WeightMap weights = WeightMap::open(path);
  const WeightOrigins origins(weights, cache);
  std::map<std::string, Hash128> result;
  for (const WeightInfo& w : weights.weights()) result.emplace(w.name, origins.of(w));
  return result;
}

void write(const fs::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.dtype(), tensor.shape()});
  write_safetensors(path, specs, {}, [&](size_t i) { return tensors[i].second; });
}

TEST(WeightOrigins, AreTheContentAndNothingElse) {
  const TempFolder folder, cached;
  const CacheFolder cache = cache_in(cached);
  Tensor large({700'000}, DType::float32), row({4}, DType::float32);
  for (int64_t i = 0; i < large.numel(); ++i) static_cast<float*>(large.data())[i] = static_cast<float>(i);
  for (int64_t i = 0; i < 4; ++i) static_cast<float*>(row.data())[i] = static_cast<float>(i);
  const Tensor square = Tensor::view({2, 2}, DType::float32, row.data(), nullptr), integers = Tensor::view({4}, DType::int32, row.data(), nullptr);
  write(folder / "a.safetensors", {{"large", large}, {"row", row}, {"square", square}, {"integers", integers}, {"again", row}});
  write(folder / "b.safetensors", {{"renamed", large}});
  const auto a = origins(folder / "a.safetensors", cache), b = origins(folder / "b.safetensors", cache);
  EXPECT_EQ(a.at("large"), b.at("renamed"));
  EXPECT_EQ(a.at("row"), a.at("again"));
  EXPECT_NE(a.at("row"), a.at("square"));
  EXPECT_NE(a.at("row"), a.at("integers"));
  // Any single element, wherever it lies.
  for (const int64_t at : {int64_t{0}, int64_t{262'143}, int64_t{262'144}, int64_t{699'999}}) {
    Tensor other = large.clone();
    static_cast<float*>(other.data())[at] += 1;
    write(folder / "c.safetensors", {{"large", other}});
    EXPECT_NE(origins(folder / "c.safetensors", cache).at("large"), a.at("large")) << at;
  }
}

TEST(WeightOrigins, AreKeptByWhatTheKernelSaysOfTheFile) {
  const TempFolder cached, copies;
  const CacheFolder cache = cache_in(cached);
  const auto entries = [&] { return cache.entries(); };
  const auto first = origins(kUNet, cache);
  ASSERT_EQ(entries().size(), 1u);
  EXPECT_EQ(entries()[0].kind, "contents");
  EXPECT_EQ(origins(kUNet, cache), first);
  // What is kept is what is used: nothing is read again.
  ASSERT_TRUE(cache.write("contents", entries()[0].key, std::string(first.size() * sizeof(Hash128), 'x')));
  EXPECT_NE(origins(kUNet, cache), first);
  // A file that has just changed could change once more within one tick of its file system's clock.
  fs::copy_file(kUNet, copies / "new.safetensors");
  EXPECT_EQ(origins(copies / "new.safetensors", cache), first);
  EXPECT_EQ(entries().size(), 1u);
}

TEST(WeightOrigins, WithoutACacheNothingIsRead) {
  const TempFolder folder;
  fs::copy_file(kUNet, folder / "a.safetensors");
  fs::copy_file(kUNet, folder / "b.safetensors");
  EXPECT_EQ(origins(folder / "a.safetensors", {}), origins(folder / "a.safetensors", {}));
  EXPECT_NE(origins(folder / "a.safetensors", {}), origins(folder / "b.safetensors", {})) << "two files, whatever they hold";
}

TEST(WeightOrigins, ReadingAFileCanBeStopped) {
  const TempFolder cached;
  const WeightOrigins origins(WeightMap::open(kUNet), cache_in(cached));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW((void)origins.of_all(stop.get_token()), Interrupted);
  EXPECT_TRUE(cache_in(cached).entries().empty());
  EXPECT_EQ(origins.of_all(), WeightOrigins(WeightMap::open(kUNet), cache_in(cached)).of_all()) << "and begun anew";
}

TEST(WeightOrigins, AFileThatIsNotWhatItWasIsNamed) {
  const TempFolder folder, cached;
  fs::copy_file(kUNet, folder / "a.safetensors");
  const WeightMap weights = WeightMap::open(folder / "a.safetensors");
  const WeightOrigins origins(weights, cache_in(cached));
  fs::resize_file(folder / "a.safetensors", 1000);
  EXPECT_NE(message_of<UserError>([&] { origins.of_all(); }).find("a.safetensors: changed while it was in use"), std::string::npos);
}

}  // namespace
}  // namespace vivace
