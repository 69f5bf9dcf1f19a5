// A pipeline as a package: plans, prepared weights, and the small files of its checkpoint.
#include "vivace/export.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"
#include "components/package.h"
#include "pipelines/parts.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// Writing this many bytes takes long enough to look for an interrupt.
constexpr size_t kLargePiece = size_t{1} << 20;

void copy_all(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy(from, to, fs::copy_options::recursive, error);
  if (error) throw UserError(cat("cannot write ", to.string(), ": ", error.message()));
}

void make_folder(const fs::path& path) {
  std::error_code error;
  if (!fs::create_directory(path, error) && error) throw UserError(cat("cannot make the folder ", path.string(), ": ", error.message()));
}

fs::path without_slash(const fs::path& path) { return fs::absolute(path / "").parent_path(); }

// Before the work, so that it is not done in vain.
void check_target(const fs::path& path) {
  const fs::path target = without_slash(path);
  std::error_code ignored;
  if (path.empty()) throw UserError("cannot write a package with an empty name: give a path such as sdxl.vivace");
  if (fs::exists(target, ignored) && !fs::exists(target / kPackageFile, ignored))
    throw UserError(cat("cannot write ", path.string(), ": something that is no package is there: choose another name"));
  check_writable(target.parent_path() / kPackageFile);
}

// The folder while it is being written: beside the one it becomes, removed unless commit() gives it its name.
class FolderWriter {
 public:
  explicit FolderWriter(const fs::path& path) : path_(without_slash(path)), temporary_(path_.parent_path() / cat(".vivace-", ::getpid(), "-", path_.filename().string())) {
    make_folder(temporary_);
  }
  ~FolderWriter() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  fs::path operator/(const std::string& name) const { return temporary_ / name; }
  void commit() {
    std::error_code error;
    const fs::path old = temporary_.string() + "-old";
    if (fs::exists(path_, error)) fs::rename(path_, old, error);
    if (!error) fs::rename(temporary_, path_, error);
    if (error) throw UserError(cat("cannot write ", path_.string(), ": ", error.message()));
    temporary_.clear();
    fs::remove_all(old, error);
  }

 private:
  fs::path path_, temporary_;
};

// The sessions that pictures of these sizes need, so that every component holds their plans and weights.
void prepare_sessions(DiffusionPipeline::Parts& parts, const std::vector<Size>& sizes, int64_t batch) {
  Request request;
  int64_t tokens = 0;
  const int64_t skip = parts.is_xl ? 1 : 0;
  for (auto* pair : {&parts.text_encoder, &parts.text_encoder_2}) {
    if (!*pair) continue;
    tokens = (pair == &parts.text_encoder ? parts.tokenizer : parts.tokenizer_2)->model_max_length();
    const auto& text = static_cast<const CLIPTextComponent&>((*pair)->component());
    text.lease(text.request(1, tokens, skip), request);
  }
  const int64_t scale = parts.vae->scale();
  for (const auto& [height, width] : sizes) {
    if (height <= 0 || width <= 0 || height % scale || width % scale)
      throw UsageError(cat("a picture of ", height, " x ", width, " cannot be made: expected positive multiples of ", scale, " (the VAE's scale)"));
    const UNetComponent& unet = parts.unet_component();
    const VAEComponent& vae = parts.vae_component();
    for (const int64_t n : {batch, 2 * batch}) unet.lease(unet.request({n, height / scale, width / scale, tokens}), request);
    vae.lease(vae.decode_request(1, height / scale, width / scale, vae.decode_dtype()), request);
  }
}

// Writes the component's folder; its entry in package.json.
nlohmann::json write_component(const Component& component, const fs::path& from, const fs::path& to, const ExportOptions& options) {
  const auto next = [&](const std::string& file) {
    if (options.on_file) options.on_file(component.name() + "/" + file);
  };
  next("config.json");
  make_folder(to);
  copy_all(from / "config.json", to / "config.json");
  nlohmann::json plans = nlohmann::json::object();
  for (const auto& [key, plan] : component.plans_as_bytes()) {
    const std::string file = cat("plan-", plans.size(), ".bin");
    next(file);
    write_file(to / file, plan);
    plans[key] = file;
  }
  nlohmann::json entry{{"parameters", component.num_parameters()}, {"dynamic", component.options().dynamic}, {"plans", plans}};
  if (!options.weights) {
    const std::string checkpoint = fs::absolute(from).lexically_normal().string();
    if (to_valid_utf8(checkpoint) != checkpoint) throw UserError(cat(in_quotes(checkpoint), " is no UTF-8: a package cannot name it, but hold the weights"));
    entry["checkpoint"] = checkpoint;
    entry["variant"] = component.variant();
    entry["model"] = model_hash(read_file(from / "config.json"), component.weights());
    return entry;
  }
  next("weights.bin");
  FileWriter file(to / "weights.bin");
  const std::vector<Constant> constants = component.constants();
  file.reserve(ConstantFile::bytes_of(constants));
  ConstantFile::write(constants, [&](std::span<const std::byte> piece) {
    if (piece.size() > kLargePiece) next("weights.bin");
    file.write(piece);
  });
  file.commit();
  return entry;
}

}  // namespace

void export_package(DiffusionPipeline& pipe, const fs::path& path, const ExportOptions& options) {
  DiffusionPipeline::Parts& parts = *pipe.parts_;
  const fs::path checkpoint = parts.path;
  if (fs::exists(checkpoint / kPackageFile)) throw UsageError(cat(checkpoint.string(), " is a package already: export the checkpoint it came from"));
  if (options.batch < 1 || options.batch > 4096) throw UsageError(cat("batch is ", options.batch, ": expected 1 or more"));
  const std::vector<Size> sizes = options.sizes.empty() ? std::vector{pipe.default_size()} : options.sizes;
  check_target(path);
  prepare_sessions(parts, sizes, options.batch);
  FolderWriter out(path);
  nlohmann::json components = nlohmann::json::object();
  for (auto* text : {&parts.text_encoder, &parts.text_encoder_2}) {
    if (!*text) continue;
    const std::string name = text == &parts.text_encoder ? "text_encoder" : "text_encoder_2";
    components[name] = write_component((*text)->component(), checkpoint / name, out / name, options);
    const std::string tokenizer = text == &parts.text_encoder ? "tokenizer" : "tokenizer_2";
    copy_all(checkpoint / tokenizer, out / tokenizer);
  }
  components["unet"] = write_component(parts.unet->component(), checkpoint / "unet", out / "unet", options);
  components["vae"] = write_component(parts.vae->component(), checkpoint / "vae", out / "vae", options);
  copy_all(checkpoint / "model_index.json", out / "model_index.json");
  copy_all(checkpoint / "scheduler", out / "scheduler");
  const nlohmann::json json{{"format", kPackageFormat}, {"vivace", VIVACE_VERSION}, {"build", package_build()}, {"isa", package_isa()}, {"dtype", dtype_name(parts.unet->dtype())},
                            {"sizes", sizes}, {"batch", options.batch}, {"components", components}};
  write_file(out / kPackageFile, json.dump(2) + "\n");
  out.commit();
}

}  // namespace vivace
