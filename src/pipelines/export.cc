// A pipeline as a package: plans, prepared weights, and the small files of its checkpoint.
#include "vivace/export.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/folder_writer.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "components/package.h"
#include "pipelines/loaded.h"
#include "runtime/constant_file.h"
#include "vivace/error.h"
#include "vivace/version.h"

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

// Before the work, so that it is not done in vain.
void check_target(const fs::path& path) {
  const fs::path target = folder_path(path);
  std::error_code ignored;
  if (path.empty()) throw UserError("cannot write a package with an empty name: give a path such as sdxl.vivace");
  if (fs::exists(target, ignored) && !fs::exists(target / kPackageFile, ignored))
    throw UserError(cat("cannot write ", path.string(), ": something that is no package is there: choose another name"));
  check_writable(target.parent_path() / kPackageFile);
}

// The calls that a package serves: for each size with guidance and without, with as many prompts as its pictures can be shared among; of a class
// that may be given a picture and need not, with one of that shape and without.
std::vector<Call> calls_of(const Recipe& recipe, bool picture_needed, const std::vector<Size>& sizes, const ExportOptions& options) {
  std::vector<std::optional<int>> skips{std::nullopt};
  skips.insert(skips.end(), options.clip_skip.begin(), options.clip_skip.end());
  std::vector<Call> calls;
  for (const auto& [height, width] : sizes)
    for (int64_t prompts = 1; prompts <= options.batch; ++prompts) {
      if (options.batch % prompts) continue;
      const Prompts texts(std::vector<std::string>(static_cast<size_t>(prompts)));
      CallOptions given = recipe.blank_call({height, width});
      given.num_frames = options.num_frames;
      given.max_area = options.max_area;
      given.num_images_per_prompt = static_cast<int>(options.batch / prompts);
      std::vector<CallOptions> ways{given};
      if (!picture_needed && !given.image.empty()) ways.emplace_back(given).image = {};
      for (const CallOptions& way : ways) {
        Call call = recipe.resolve(texts, way);
        // A negative prompt is given, so that it is encoded.
        call.options.negative_prompt = "";
        for (const bool guidance : {call.guidance, false})
          for (const std::optional<int> skip : skips) {
            call.guidance = guidance;
            call.options.clip_skip = skip;
            calls.push_back(call);
          }
      }
    }
  return calls;
}

// Every component holds the plans and weights of the calls' sessions.
void prepare_sessions(const DiffusionPipeline::Loaded& loaded, const std::vector<Call>& calls) {
  Request request;
  for (const Call& call : calls)
    for (const SessionNeed& need : loaded.recipe->sessions_for(call)) loaded.parts.model(need.part).component().lease(need.request, request);
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
    if (component.has_adapters())
      throw UsageError("adapters are loaded: a package without weights would read the checkpoint's own; export with weights, or unload them");
    const std::string checkpoint = fs::absolute(from).lexically_normal().string();
    if (to_valid_utf8(checkpoint) != checkpoint)
      throw UserError(cat(in_quotes(checkpoint), " is no UTF-8: a package cannot name it, but hold the weights"));
    entry["checkpoint"] = checkpoint;
    entry["variant"] = component.variant();
    entry["model"] = model_hash(read_file(from / "config.json"), component.weights());
    return entry;
  }
  next("weights.bin");
  FileWriter file(to / "weights.bin");
  const std::vector<Constant> constants = component.constants();
  file.reserve(ConstantFile::bytes_of(constants));
  ConstantFile::write(constants, component.device(), [&](std::span<const std::byte> piece) {
    if (piece.size() > kLargePiece) next("weights.bin");
    file.write(piece);
  });
  file.commit();
  return entry;
}

}  // namespace

void export_package(DiffusionPipeline& pipe, const fs::path& path, const ExportOptions& options) {
  const DiffusionPipeline::Loaded& loaded = pipe.loaded();
  const Parts& parts = loaded.parts;
  const fs::path checkpoint = parts.path;
  if (fs::exists(checkpoint / kPackageFile)) throw UsageError(cat(checkpoint.string(), " is a package already: export the checkpoint it came from"));
  if (!parts.elsewhere.empty())
    throw UsageError(
        cat("the ", parts.elsewhere.begin()->first, " of this pipeline lies outside of its checkpoint: a package holds one checkpoint's parts"));
  if (loaded.adapters.has_tokens())
    throw UsageError("textual inversions are loaded: a package has the checkpoint's tokenizers, which do not know their tokens; unload them first");
  if (options.batch < 1 || options.batch > 4096) throw UsageError(cat("batch is ", options.batch, ": expected 1 or more"));
  const std::vector<Size> sizes = options.sizes.empty() ? std::vector{pipe.default_size()} : options.sizes;
  const std::vector<Call> calls = calls_of(*loaded.recipe, loaded.family->task != Task::text_to_image, sizes, options);
  if (loaded.weights_in_files && !options.weights)
    throw UsageError("weights: a package can name a checkpoint whose weights lie in its folders alone; this one has to hold them");
  check_target(path);
  std::vector<PlanShelf::Keeping> kept;
  for (const auto& [name, model] : parts.models) kept.push_back(model->component().keep_plans());
  prepare_sessions(loaded, calls);
  FolderWriter out(path);
  nlohmann::json components = nlohmann::json::object(), index = read_json(checkpoint / "model_index.json");
  DType dtype{};
  for (const PartSpec& part : loaded.family->parts) {
    const std::string name(part.name);
    if (parts.has(name)) {
      components[name] = write_component(parts.model(name).component(), loaded.folder(name), out / name, options);
      if (part.hot) dtype = parts.model(name).dtype();
    } else if (part.classes.empty()) {
      // As it is now, which need not be the checkpoint's.
      make_folder(out / name);
      write_file(out / name / "scheduler_config.json", parts.scheduler->config() + "\n");
      index[name] = {"diffusers", parts.scheduler->class_name()};
    } else if (const fs::path folder = loaded.folder(name); fs::is_directory(folder)) {
      copy_all(folder, out / name);
    }
  }
  write_file(out / "model_index.json", json_text(index, 2) + "\n");
  const nlohmann::json json{{"format", kPackageFormat},   {"vivace", VIVACE_VERSION}, {"packing", kPackingVersion}, {"isa", package_isa()},
                            {"dtype", dtype_name(dtype)}, {"sizes", sizes},           {"batch", options.batch},     {"components", components}};
  write_file(out / kPackageFile, json_text(json, 2) + "\n");
  out.commit();
}

}  // namespace vivace
