// vivace info: what a checkpoint holds, and what running it will take.
#include <algorithm>
#include <filesystem>
#include <map>

#include "base/json.h"
#include "base/log.h"
#include "commands.h"
#include "compiler/regions.h"
#include "component_target.h"
#include "components/model_classes.h"
#include "output.h"
#include "pipelines/memory_plan.h"

namespace vivace::cli {
namespace {

// What is known of one component folder.
struct Listing {
  std::string name, class_name;
  int64_t parameters = 0, file_bytes = 0;
  int files = 0;
  std::map<std::string, int> dtypes;  // of the stored tensors
  std::vector<RepeatedBlock> blocks;
  int64_t arena_bytes = 0, constant_bytes = 0;
};

// The weights that a package holds, as kernels take them.
void add_packed(const std::filesystem::path& folder, Listing& listing) {
  std::error_code none;
  const uintmax_t bytes = std::filesystem::file_size(folder / "weights.bin", none);
  if (none) return;
  listing.file_bytes = static_cast<int64_t>(bytes);
  listing.files = 1;
  listing.dtypes["packed"] = 1;
}

Listing examine(const TargetOptions& options, const std::string& component, const std::string& class_name, const ComponentTarget& denoiser,
                MemoryPlan& memory) {
  Listing listing{.name = component, .class_name = class_name};
  std::map<std::string, int64_t> parameters;
  for (const std::string& target : denoiser.names()) {
    if (target.substr(0, target.find('.')) != component) continue;
    TargetOptions one = options;
    one.component = target;
    one.of_call = true;
    if (target != denoiser.name()) one.batch = 1;  // as the pipeline runs them
    const ComponentTarget t(one);
    const Graph graph = t.graph();
    for (const Node& node : graph.nodes)
      if (node.op == Op::weight) parameters[node.attrs.text("name")] = numel(node.shape);
    if (t.stage()) {
      std::vector<MemoryNeed> sessions;
      int64_t weights = 0;
      for (const Plan& plan : t.plans()) {
        listing.arena_bytes = std::max(listing.arena_bytes, plan.arena_bytes);
        weights = std::max(weights, plan.constant_bytes);
        sessions.push_back(memory_need(Program(std::make_shared<const Plan>(plan), t.component().device())));
      }
      listing.constant_bytes += weights;
      memory.add(component, target, *t.stage(), one_after_another(sessions, {}), t.component(), t.call());
    }
    const auto blocks = repeated_blocks(graph);
    listing.blocks.insert(listing.blocks.end(), blocks.begin(), blocks.end());
    if (const WeightStack* weights = t.weights(); weights && listing.files == 0) {
      for (const auto& file : weights->files().files()) {
        listing.file_bytes += static_cast<int64_t>(file->map().size());
        ++listing.files;
      }
      for (const WeightInfo& weight : weights->files().weights()) ++listing.dtypes[std::string(dtype_name(weight.dtype))];
    }
    if (listing.files == 0) add_packed(denoiser.configs() / component, listing);
  }
  for (const auto& [name, count] : parameters) listing.parameters += count;
  return listing;
}

std::string blocks_text(const std::vector<RepeatedBlock>& blocks) {
  std::map<std::string, std::pair<int, int>> joined;
  for (const RepeatedBlock& b : blocks) {
    joined[b.class_name].first += static_cast<int>(b.scopes.size());
    joined[b.class_name].second += b.kinds;
  }
  std::string text;
  for (const auto& [name, counts] : joined)
    text += cat(text.empty() ? "" : ", ", counts.first, " ", name, " (", counts.second, counts.second == 1 ? " kind)" : " kinds)");
  return text;
}

std::string dtypes_text(const Listing& l) {
  std::string text;
  for (const auto& [name, count] : l.dtypes) text += (text.empty() ? "" : ", ") + name;
  return l.files == 0 ? "no weights" : text;
}

nlohmann::json info_json(const Listing& l) {
  nlohmann::json blocks = nlohmann::json::array();
  for (const RepeatedBlock& b : l.blocks) blocks.push_back({{"class", b.class_name}, {"count", b.scopes.size()}, {"kinds", b.kinds}});
  return {{"class", l.class_name},
          {"parameters", l.parameters},
          {"files", l.files},
          {"file_bytes", l.file_bytes},
          {"dtypes", l.dtypes},
          {"repeated_blocks", blocks},
          {"arena_bytes", l.arena_bytes},
          {"constant_bytes", l.constant_bytes}};
}

// "CLIPTextModel" of ["transformers", "CLIPTextModel"]; empty for a component that is left out.
std::string class_of(const Config& index, const std::string& name) {
  if (!index.is_list(name)) return "";
  const auto entry = index.get<std::vector<std::optional<std::string>>>(name);
  return entry.size() == 2 && entry[1] ? *entry[1] : "";
}

int run_info(TargetOptions o, bool batch_given, const Common& common) {
  o.component.clear();
  o.batch_of_call = !batch_given;
  const ComponentTarget denoiser(o);
  o.batch = denoiser.batch();
  o.batch_of_call = false;
  // As `generate` has it.
  if (o.compile.quantize_component.empty() && !(o.compile.quantize.empty() && o.recipe.empty())) o.compile.quantize_component = {denoiser.name()};
  const Config index = Config::read(denoiser.configs() / "model_index.json");
  const std::string pipeline = index.get<std::string>("_class_name");
  std::vector<Listing> listings;
  MemoryPlan memory;
  nlohmann::json others = nlohmann::json::object();
  for (const std::string& name : index.keys()) {
    const std::string class_name = class_of(index, name);
    if (class_name.empty()) continue;
    if (find_model_class(class_name))
      listings.push_back(examine(o, name, class_name, denoiser, memory));
    else
      others[name] = class_name;
  }
  if (common.json) {
    nlohmann::json components = nlohmann::json::object();
    for (const Listing& l : listings) components[l.name] = info_json(l);
    print_json(
        {{"model", o.model},
         {"class", pipeline},
         {"height", denoiser.height()},
         {"width", denoiser.width()},
         {"batch", o.batch},
         {"dtype", dtype_name(denoiser.dtype())},
         {"components", components},
         {"bytes", {{"peak", memory.peak(true)}, {"peak_with_everything_kept", memory.peak(false)}, {"available", available_memory().value_or(0)}}},
         {"others", others}});
    return 0;
  }
  print(cat(o.model, ": ", pipeline, "\n\n"));
  Table table({"component", "class", "parameters", "on disk", "files", "stored as", "activations", "weights"});
  double parameters = 0, disk = 0, weights = 0;
  for (const Listing& l : listings) {
    table.add({l.name, l.class_name, count_text(static_cast<double>(l.parameters)), bytes_text(static_cast<double>(l.file_bytes)),
               std::to_string(l.files), dtypes_text(l), bytes_text(static_cast<double>(l.arena_bytes)),
               bytes_text(static_cast<double>(l.constant_bytes))});
    parameters += static_cast<double>(l.parameters);
    disk += static_cast<double>(l.file_bytes);
    weights += static_cast<double>(l.constant_bytes);
  }
  print(table.text());
  print(cat("\nIn all ", count_text(parameters), " parameters, ", bytes_text(disk),
            " on disk. Activations (at their peak) and weights (as prepared: ", bytes_text(weights), " in all) are what the plans of a ",
            denoiser.height(), " x ", denoiser.width(), denoiser.num_frames() ? cat(" video of ", denoiser.num_frames(), " frames") : " picture",
            " in ", dtype_name(denoiser.dtype()), " take, at batch ", o.batch, " of the denoiser.\n"));
  print(cat("A call takes for ", memory_text(memory), "; there are ", bytes_text(static_cast<double>(available_memory().value_or(0))), ".\n"));
  for (const Listing& l : listings)
    if (const std::string blocks = blocks_text(l.blocks); !blocks.empty()) print(cat(l.name, " repeats ", blocks, "\n"));
  for (const auto& [name, class_name] : others.items()) print(cat(name, ": ", class_name.get<std::string>(), "\n"));
  return 0;
}

}  // namespace

Command add_info(Arguments& app, const Common& common) {
  auto o = std::make_shared<TargetOptions>();
  Arguments* c = app.add_subcommand("info", "What a checkpoint holds, and the memory its plans take");
  o->add(*c);
  c->add_flag("--vae-tiling", o->vae_tiling, "The VAE works in tiles");
  c->add_option("folder", o->model, "Checkpoint folder, as --model").excludes(c->option("--model"));
  return {c, [o, c, &common] { return run_info(*o, c->option("--batch").given(), common); }};
}

}  // namespace vivace::cli
