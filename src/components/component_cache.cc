#include "components/component_cache.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

#include "base/build_id.h"
#include "base/log.h"
#include "base/memory_size.h"
#include "base/parallel.h"
#include "compiler/compile.h"
#include "components/whole_notes.h"
#include "runtime/plan_file.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Enough for every size that changes which kernel a layer gets.
constexpr int kMaxParts = 16;

// What has just been written, and lies on the disk: the note outlives a crash of the machine, and so must what it is of.
void keep_written(const CacheFolder& folder, const std::string& name, size_t count) {
  const auto entry = folder.map(cache_kind::kWeights, name);
  if (!entry) return;
  const FileStamp stamp = entry->file->stamp_now();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the kernel's clock has moved on: a change from now on shows
  WholeNotes(folder, name).keeper(entry->file, stamp)(ConstantStore::Whole(count, 1));
}

}  // namespace

std::string model_hash(const std::string& config, const WeightStack& weights) {
  std::string text = config;
  for (const WeightInfo& w : weights.files().weights()) text += cat('\n', w.name, ' ', dtype_name(w.dtype), to_string(w.shape));
  return hash_text(text + weights.structure());
}

ComponentCache::ComponentCache(CacheFolder folder, const std::string& component, const std::string& config, const WeightStack& weights,
                               std::shared_ptr<Device> device)
    : folder_(std::move(folder)), component_(component), device_(std::move(device)), origins_(weights.origins()) {
  if (folder_.enabled()) model_ = model_hash(config, weights);
}

ComponentCache::~ComponentCache() {
  if (writing_.joinable()) writing_.join();
}

ComponentCache& ComponentCache::operator=(ComponentCache&& other) noexcept {
  if (writing_.joinable()) writing_.join();
  folder_ = std::move(other.folder_);
  component_ = std::move(other.component_);
  device_ = std::move(other.device_);
  model_ = std::move(other.model_);
  origins_ = std::move(other.origins_);
  loaded_ = other.loaded_;
  writing_ = std::move(other.writing_);
  return *this;
}

std::string ComponentCache::contents() const { return to_string(origins_->of_all()); }

std::string ComponentCache::part_name(int part) const {
  return cat(component_, ": weights ", contents(), " prepared for ", device_->target().level_name, ", build ", build_id(), ", part ", part);
}

std::string ComponentCache::plan_key(const std::string& key, const CompileOptions& options) const {
  return cat(component_, ": ", key, "; ", options_text(options), "; model ", model_, "; ", device_->target().text, "; build ", build_id());
}

std::optional<Plan> ComponentCache::plan(const std::string& key, const CompileOptions& options) const {
  if (!folder_.enabled()) return std::nullopt;
  const std::string name = plan_key(key, options);
  const auto bytes = folder_.read(cache_kind::kPlans, name);
  if (!bytes) return std::nullopt;
  try {
    return parse_plan(std::as_bytes(std::span(*bytes)), name, *device_);
  } catch (const UserError& error) {
    info("a plan in the cache is not used: ", error.what());
    return std::nullopt;
  }
}

void ComponentCache::keep(const std::string& key, const CompileOptions& options, const Plan& plan) const {
  if (folder_.enabled()) folder_.write(cache_kind::kPlans, plan_key(key, options), serialize_plan(plan));
}

void ComponentCache::load_constants(ConstantStore& store, const std::stop_token& stop) {
  if (!folder_.enabled() || loaded_) return;
  (void)origins_->of_all(stop);
  loaded_ = true;
  for (int part = 0; part < kMaxParts; ++part) {
    const std::string name = part_name(part);
    const auto entry = folder_.map(cache_kind::kWeights, name);
    if (!entry) continue;
    try {
      auto file = ConstantFile::open(entry->payload, entry->file, name);
      const WholeNotes notes(folder_, name);
      ConstantStore::Whole whole = notes.known(entry->file->stamp());
      const FileStamp stamp = entry->file->stamp_now();  // as this use has left it, which changes it
      if (whole.size() == file->size()) notes.keep(stamp, whole);
      store.add_file(
          std::move(file),
          [folder = folder_](const ConstantFile& file) {
            info("prepared weights in the cache are damaged and made again: ", file.name());
            folder.remove(cache_kind::kWeights, file.name());
          },
          std::move(whole), notes.keeper(entry->file, stamp));
    } catch (const UserError& error) {
      info("prepared weights in the cache are not used: ", error.what());
      folder_.remove(cache_kind::kWeights, name);
    }
  }
}

void ComponentCache::keep_constants(ConstantStore& store) {
  std::vector<Constant> made = store.take_new();
  if (!folder_.writable() || made.empty()) return;
  if (const uint64_t bytes = ConstantFile::bytes_of(made); bytes > folder_.max_bytes())
    return warn("the prepared weights of the ", component_, " take ", bytes_text(static_cast<double>(bytes)), ", the cache holds ",
                bytes_text(static_cast<double>(folder_.max_bytes())),
                " at most: every start prepares them anew (--cache-size or VIVACE_CACHE_SIZE makes room)");
  if (writing_.joinable()) writing_.join();
  int part = 0;
  while (part < kMaxParts && folder_.holds(cache_kind::kWeights, part_name(part))) ++part;
  if (part == kMaxParts) return;
  auto write = [folder = folder_, device = device_, name = part_name(part), made = std::move(made)] {
    try {
      const auto fill = [&](const CacheFolder::Sink& sink) { ConstantFile::write(made, *device, sink); };
      if (folder.write(cache_kind::kWeights, name, ConstantFile::bytes_of(made), fill, true)) keep_written(folder, name, made.size());
    } catch (const std::exception& error) {
      warn("prepared weights are not kept: ", error.what());
    }
  };
  try {
    writing_ = std::thread([write] {
      // Behind the work itself. Linux knows priorities by thread.
      (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
      write();
    });
  } catch (const std::system_error&) {
    write();  // there are no more threads to be had
  }
}

void ComponentCache::forget_constants() {
  if (writing_.joinable()) writing_.join();
  loaded_ = false;
}

std::string ComponentCache::measured_key(const std::string& key) const {
  return cat(component_, ": ", key, "; weights ", contents(), "; ", device_->target().text, "; build ", build_id());
}

std::optional<std::string> ComponentCache::measured(const std::string& key) const {
  return folder_.enabled() ? folder_.read(cache_kind::kTuning, measured_key(key)) : std::nullopt;
}

void ComponentCache::keep_measured(const std::string& key, const std::string& text) const {
  if (folder_.enabled()) folder_.write(cache_kind::kTuning, measured_key(key), text);
}

bool ComponentCache::weights_checked() const {
  return folder_.enabled() && folder_.map(cache_kind::kChecks, cat(component_, ": model ", model_, "; build ", build_id())).has_value();
}

void ComponentCache::keep_weights_checked() const {
  if (folder_.enabled()) folder_.write(cache_kind::kChecks, cat(component_, ": model ", model_, "; build ", build_id()), "");
}

}  // namespace vivace
