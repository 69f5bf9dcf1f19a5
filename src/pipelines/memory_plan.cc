#include "pipelines/memory_plan.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <set>

#include "base/log.h"
#include "base/memory_size.h"
#include "components/models.h"
#include "components/quantization.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr Stage kStages[] = {Stage::encode, Stage::denoise, Stage::decode};

template <class Wanted>
int64_t peak_of(const std::vector<MemoryPlan::Row>& rows, const Wanted& wanted) {
  int64_t held = 0, most = 0;
  for (const MemoryPlan::Row& row : rows) {
    if (!wanted(row)) continue;
    held += row.need.weights;
    most = std::max(most, held + std::max(row.need.preparing, row.need.activations + row.need.beside));
    held += row.need.activations;
  }
  return most;
}

std::string text_of(int64_t bytes) { return bytes_text(static_cast<double>(bytes)); }

int64_t limit_of(const DiffusionPipeline::Loaded& loaded) {
  if (loaded.max_memory > 0) return static_cast<int64_t>(loaded.max_memory);
  const auto& models = loaded.parts.models;
  return memory_limit(loaded.parts, models.empty() ? std::nullopt : models.begin()->second->component().device().free_memory());
}

size_t resident_of(std::string_view part, const ResidentWeights& resident) {
  const auto found = resident.find(part);
  return found == resident.end() ? kAllResident : found->second;
}

// Whether weights may wait in the host's memory: on a device that shares it they do anyway, where the files are mapped.
bool can_stream(const DiffusionPipeline::Loaded& loaded) {
  const auto& models = loaded.parts.models;
  return !models.empty() && !models.begin()->second->component().device().shares_host_memory();
}

// What is left free where the rest is filled with weights that stay: for the libraries, recorded steps, and what else a driver takes.
int64_t spare(int64_t limit) { return limit / 16; }

// As much of each part's weights waits as has to, so that every stage fits, the heaviest parts first; nothing where that is not enough.
std::optional<ResidentWeights> resident_that_fits(const DiffusionPipeline::Loaded& loaded, const Call& call, Request& request, int64_t limit) {
  ResidentWeights resident;
  const auto planned = [&] { return plan_memory(*loaded.recipe, loaded.parts, call, request, resident); };
  MemoryPlan plan = planned();
  for (Stage stage : kStages)
    while (plan.peak(stage) > limit) {
      const MemoryPlan::Row* heaviest = nullptr;
      for (const MemoryPlan::Row& row : plan.rows)
        if (row.stage == stage && !resident.contains(row.part) && (!heaviest || row.need.weights > heaviest->need.weights)) heaviest = &row;
      if (!heaviest) return std::nullopt;
      resident[heaviest->part] = 0;
      plan = planned();
    }
  // What room there is then.
  for (auto& [part, bytes] : resident) {
    int64_t room = std::numeric_limits<int64_t>::max(), weights = 0;
    for (const MemoryPlan::Row& row : plan.rows) {
      if (row.part != part) continue;
      room = std::min(room, limit - spare(limit) - plan.peak(row.stage));
      weights = std::max(weights, row.need.waiting);
    }
    // In sixteenths, so that sessions fit the next call too, when a little more or less is free. Some always wait: with all of
    // them on the device they would be prepared in another way, which takes more.
    const int64_t piece = std::max<int64_t>(weights / 16, 1);
    bytes = static_cast<size_t>(std::clamp<int64_t>(room / piece, 0, 15) * piece);
    plan = planned();
  }
  return resident;
}

// A package has the plans that it has.
bool is_packaged(const DiffusionPipeline::Loaded& loaded) {
  return std::ranges::any_of(loaded.parts.models, [](const auto& part) { return part.second->component().is_packaged(); });
}

// Ways to need less, tried where a call does not fit.
struct Remedy {
  DType dtype;
  std::set<std::string> quantized;  // parts
};

// What a call asks of a part's function: sessions that follow one another.
struct Asked {
  std::string_view part;
  Stage stage;
  std::vector<GraphRequest> requests;
};

std::vector<Asked> asked_by(const Recipe& recipe, const Call& call) {
  std::vector<Asked> all;
  for (SessionNeed& need : recipe.sessions_for(call)) {
    const auto same =
        std::ranges::find_if(all, [&](const Asked& a) { return a.part == need.part && a.requests[0].function == need.request.function; });
    if (same != all.end())
      same->requests.push_back(std::move(need.request));
    else
      all.push_back({need.part, need.stage, {std::move(need.request)}});
  }
  return all;
}

// Pictures in float32, as a VAE is given them or makes them: all of a call, and two on their way from one layout or dtype to another.
int64_t picture_bytes(const Call& call, Stage stage) {
  const CallOptions& o = call.options;
  int64_t count = call.images, frames = call.frames;
  if (stage == Stage::encode) {
    count = static_cast<int64_t>(o.video.empty() ? o.image.images.size() : o.video.size());
    frames = o.video.empty() ? 1 : o.video[0].frames();
  }
  return (count + 2) * frames * call.height * call.width * 3 * static_cast<int64_t>(sizeof(float));
}

// The plan of the call if it were run so.
MemoryPlan plan_with(const DiffusionPipeline::Loaded& loaded, const Call& call, const Remedy& remedy) {
  MemoryPlan plan;
  for (Asked& asked : asked_by(*loaded.recipe, call)) {
    const Component& component = loaded.parts.model(asked.part).component();
    for (GraphRequest& request : asked.requests)
      if (component.dtype() == request.dtype) request.dtype = remedy.dtype;
    const GraphRequest& first = asked.requests[0];
    CompileOptions options = component.options(first.function);
    options.autotune_seconds = 0;
    if (remedy.quantized.contains(std::string(asked.part)))
      for (const LinearLayer& layer : linear_layers(component.graph(first), options)) options.quantize[layer.info.name] = Quantization::int8_dynamic;
    plan.add(std::string(asked.part), first.function, asked.stage, component.memory_need(asked.requests, options), component, call);
  }
  return plan;
}

std::string option_text(const DiffusionPipeline::Loaded& loaded, const Remedy& remedy, DType dtype) {
  std::string text;
  if (remedy.dtype != dtype) text = cat("--dtype ", remedy.dtype == DType::bfloat16 ? "bf16" : dtype_name(remedy.dtype));
  if (remedy.quantized.empty()) return text;
  text += cat(text.empty() ? "" : " ", "--quantize ", quantization_name(Quantization::int8_dynamic));
  // Without names it is the denoiser.
  if (remedy.quantized.size() == 1 && *remedy.quantized.begin() == denoiser_of(*loaded.family)) return text;
  for (const std::string& part : remedy.quantized) text += cat(" --quantize-component ", part);
  return text;
}

// "--quantize int8-dynamic would take 13.1 GB".
std::string remedy_text(const DiffusionPipeline::Loaded& loaded, const Call& call, Request& request, const MemoryPlan& plan, int64_t limit) {
  if (loaded.offload == Offload::none && plan.peak(true) <= limit) return cat("--offload auto would take ", text_of(plan.peak(true)));
  if (loaded.offload != Offload::automatic && can_stream(loaded))
    if (const auto resident = resident_that_fits(loaded, call, request, limit))
      return cat("--offload auto would take ", text_of(plan_memory(*loaded.recipe, loaded.parts, call, request, *resident).peak(true)));
  std::set<std::string> large;
  for (const MemoryPlan::Row& row : plan.rows)
    if (plan.peak(row.stage) > limit && row.stage != Stage::decode) large.insert(row.part);
  const DType dtype = loaded.parts.model(plan.rows.back().part).dtype();
  std::vector<Remedy> remedies;
  if (dtype == DType::float32) remedies.push_back({DType::bfloat16, {}});
  if (!large.empty()) remedies.push_back({dtype, large});
  if (dtype == DType::float32 && !large.empty()) remedies.push_back({DType::bfloat16, large});
  if (!is_packaged(loaded))
    for (const Remedy& remedy : remedies)
      if (const int64_t peak = plan_with(loaded, call, remedy).peak(true); peak <= limit)
        return cat(option_text(loaded, remedy, dtype), loaded.offload == Offload::none ? " --offload auto" : "", " would take ", text_of(peak));
  const auto heaviest = std::ranges::max_element(plan.rows, {}, [](const MemoryPlan::Row& row) { return row.need.weights; });
  if (heaviest->need.weights > limit && !can_stream(loaded))
    return cat("a machine with more memory is needed: the weights of the ", heaviest->part, " alone take ", text_of(heaviest->need.weights));
  return "a smaller picture or a machine with more memory is needed";
}

}  // namespace

int64_t memory_limit(const Parts& parts, std::optional<uint64_t> free) {
  if (!free) return std::numeric_limits<int64_t>::max();
  int64_t bytes = static_cast<int64_t>(*free);
  for (const auto& [name, model] : parts.models) bytes += static_cast<int64_t>(model->component().taken_bytes());
  return bytes;
}

void MemoryPlan::add(std::string part, std::string function, Stage stage, MemoryNeed need, const Component& component, const Call& call) {
  if (!component.device().shares_host_memory())
    need.beside = 0;  // in memory that there is enough of
  else if (dynamic_cast<const AutoencoderComponent*>(&component))
    need.beside += picture_bytes(call, stage);
  rows.push_back({std::move(part), std::move(function), stage, need});
}

int64_t MemoryPlan::peak(Stage stage) const {
  return peak_of(rows, [&](const Row& row) { return row.stage == stage; });
}

int64_t MemoryPlan::peak(bool gives_back) const {
  if (!gives_back) return peak_of(rows, [](const Row&) { return true; });
  return std::max({peak(Stage::encode), peak(Stage::denoise), peak(Stage::decode)});
}

MemoryPlan plan_memory(const Recipe& recipe, const Parts& parts, const Call& call, Request& request, const ResidentWeights& resident) {
  MemoryPlan plan;
  for (Asked& asked : asked_by(recipe, call)) {
    const Component& component = parts.model(asked.part).component();
    std::string function = asked.requests[0].function;
    if (const auto* vae = request.vae_tiles ? dynamic_cast<const AutoencoderComponent*>(&component) : nullptr) {
      std::vector<GraphRequest> tiles;
      for (const GraphRequest& whole : asked.requests) std::ranges::move(vae->in_tiles(whole), std::back_inserter(tiles));
      asked.requests = std::move(tiles);
    }
    const MemoryNeed need = component.memory_need(asked.requests, request, resident_of(asked.part, resident));
    plan.add(std::string(asked.part), std::move(function), asked.stage, need, component, call);
  }
  return plan;
}

std::string memory_text(const MemoryPlan& plan) {
  static constexpr const char* kNames[] = {"encoding ", "denoising ", "decoding "};
  std::string text;
  for (const Stage stage : kStages)
    if (const int64_t bytes = plan.peak(stage); bytes > 0) text += cat(text.empty() ? "" : ", ", kNames[static_cast<size_t>(stage)], text_of(bytes));
  text += cat("; at most ", text_of(plan.peak(true)), " at a time, or ", text_of(plan.peak(false)), " with everything kept");
  std::map<std::string_view, int64_t> waiting;
  for (const MemoryPlan::Row& row : plan.rows)
    if (row.need.waiting > 0) waiting[row.part] = std::max(waiting[row.part], row.need.waiting);
  for (const auto& [part, bytes] : waiting) text += cat("; ", text_of(bytes), " of the ", part, "'s weights wait in the host's memory");
  return text;
}

CallMemory::CallMemory(const DiffusionPipeline::Loaded& loaded, const Call& call, Request& request)
    : loaded_(loaded), request_(request), limit_(limit_of(loaded)) {
  if (loaded.offload == Offload::sequential && can_stream(loaded))
    for (const auto& [name, model] : loaded.parts.models) resident_[name] = 0;
  plan_ = plan_memory(*loaded.recipe, loaded.parts, call, request, resident_);
  const MemoryPlan whole = plan_;
  info("memory: ", memory_text(plan_), "; there are ", text_of(limit_));
  if (!fit(call)) {
    const auto largest = std::ranges::max_element(whole.rows, {}, [](const MemoryPlan::Row& row) { return row.need.weights + row.need.activations; });
    throw UserError(cat("this call takes ", text_of(whole.peak(loaded.offload != Offload::none)), " of memory at a time (", largest->part, ": ",
                        text_of(largest->need.weights), " of weights, ", text_of(largest->need.activations), " of activations), and there are ",
                        text_of(limit_), ": ", remedy_text(loaded, call, request, whole, limit_)));
  }
  for (const MemoryPlan::Row& row : plan_.rows) loaded.parts.model(row.part).component().keep_resident(resident_of(row.part, resident_), request);
}

bool CallMemory::fit(const Call& call) {
  const auto peak = [&] { return plan_.peak(loaded_.offload != Offload::none); };
  if (peak() <= limit_) {
    // What waits goes on waiting until there is clearly room: what is free is a little more or less at each call.
    const auto waits = [&](const MemoryPlan::Row& row) { return loaded_.parts.model(row.part).component().resident_bytes() != kAllResident; };
    if (loaded_.offload == Offload::automatic && peak() > limit_ - spare(limit_) && std::ranges::any_of(plan_.rows, waits))
      fit_streamed(call, limit_ - spare(limit_));
    return true;
  }
  const bool may_tile = !is_packaged(loaded_);
  if (may_tile) {
    request_.vae_tiles = true;
    plan_ = plan_memory(*loaded_.recipe, loaded_.parts, call, request_, resident_);
    if (peak() <= limit_) {
      info("memory: in tiles the VAE takes so much less that at most ", text_of(peak()), " are taken at a time");
      return true;
    }
    request_.vae_tiles = false;
  }
  if (loaded_.offload != Offload::automatic || !can_stream(loaded_)) return false;
  if (fit_streamed(call, limit_)) return true;
  request_.vae_tiles = may_tile;
  if (may_tile && fit_streamed(call, limit_)) return true;
  request_.vae_tiles = false;
  return false;
}

bool CallMemory::fit_streamed(const Call& call, int64_t limit) {
  const auto resident = resident_that_fits(loaded_, call, request_, limit);
  if (!resident) return false;
  resident_ = *resident;
  plan_ = plan_memory(*loaded_.recipe, loaded_.parts, call, request_, resident_);
  info("memory: ", memory_text(plan_));
  return true;
}

bool CallMemory::takes(Stage stage, const std::string& part) const {
  return std::ranges::any_of(plan_.rows, [&](const MemoryPlan::Row& row) { return row.stage == stage && row.part == part; });
}

int64_t CallMemory::held(Stage stage) const {
  int64_t bytes = 0;
  for (const auto& [name, model] : loaded_.parts.models)
    if (!takes(stage, name)) bytes += static_cast<int64_t>(model->component().held_bytes());
  return bytes;
}

void CallMemory::give_back(Stage stage, bool all) {
  for (const auto& [name, model] : loaded_.parts.models)
    if ((all || !takes(stage, name)) && model->component().held_bytes() > 0) {
      model->component().give_back(request_);
      ++request_.counters.parts_given_back;
    }
}

void CallMemory::begin(Stage stage) {
  const bool is_full = loaded_.offload == Offload::automatic && held(stage) + plan_.peak(stage) > limit_;
  if (is_full || always()) give_back(stage, false);
}

void CallMemory::end() {
  if (always()) give_back(Stage::decode, true);
}

}  // namespace vivace
