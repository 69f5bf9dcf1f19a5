#include "pipelines/adapters.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/joined.h"
#include "base/log.h"
#include "pipelines/adapter_names.h"
#include "pipelines/loaded.h"
#include "tokenizers/clip_tokenizer.h"
#include "vivace/error.h"
#include "weights/name_list.h"
#include "weights/token_embeddings.h"

namespace vivace {
namespace {

AdapterTarget target_of(const Parts& parts, const std::string& part) {
  AdapterTarget target{.part = part, .class_name = parts.classes.at(part), .weights = {}};
  for (const Node& node : parts.model(part).component().typical_graph().nodes)
    if (node.op == Op::weight) target.weights.emplace(node.attrs.text("name"), node.shape);
  return target;
}

}  // namespace

Adapters::Adapter& Adapters::at(const std::string& name) {
  const auto found = std::ranges::find(adapters_, name, &Adapter::name);
  if (found == adapters_.end())
    throw UsageError(cat("there is no adapter \"", name, "\": ", adapters_.empty() ? "none is loaded" : "expected one of " + joined(names())));
  return *found;
}

Adapters::Loras Adapters::read(const std::filesystem::path& path, const Parts& parts) const {
  std::vector<std::string> names;
  for (const auto& [part, model] : parts.models) {
    if (!LoraSpelling::takes(part)) continue;
    if (model->component().is_packaged()) throw UsageError("a package takes no adapters: load them with the checkpoint that it was made from");
    names.push_back(part);
  }
  if (names.empty()) throw UsageError(cat("a ", parts.class_name, " has no part that takes adapters"));
  const auto file = LoraFile::open(path);
  Loras loras;
  std::set<std::string> used;
  std::string counts;
  for (const std::string& part : names)
    if (auto lora = Lora::read(*file, target_of(parts, part), used); !lora->empty()) {
      counts += cat(counts.empty() ? "" : ", ", lora->size(), " modules of ", part);
      loras.emplace(part, std::move(lora));
    }
  NameList matched, unmatched, unused;
  for (const WeightInfo& w : file->weights().weights()) (used.contains(w.name) ? matched : is_of_adapter(w.name) ? unmatched : unused).add(w.name);
  for (const WeightInfo& w : file->weights().weights())
    if (!used.contains(w.name) && (w.name.ends_with(".lora_B.bias") || w.name.ends_with(".lora_up.bias")))
      throw UserError(cat(file->weights().name(), ": tensor \"", w.name,
                          "\" is a bias (peft's lora_bias), and products alone are added: expected a LoRA without biases"));
  if (loras.empty())
    throw UserError(cat(file->weights().name(), ": none of its ", file->weights().size(), " tensors is for a module of this ", parts.class_name, ": ",
                        unmatched.count() > 0 ? unmatched.text() : unused.text(), "; check which model it was made for"));
  info(file->weights().name(), ": ", matched.count(), " tensors for ", counts);
  if (unmatched.count() > 0)
    warn(file->weights().name(), ": ", unmatched.count(), " of ", file->weights().size(),
         " tensors are for no module of this model and left out: ", unmatched.text());
  if (unused.count() > 0)
    warn(file->weights().name(), ": ", unused.count(), " of ", file->weights().size(), " tensors are no adapter's and not used: ", unused.text());
  return loras;
}

void Adapters::load(const std::filesystem::path& path, std::string name, bool hotswap, const Parts& parts) {
  for (size_t i = 0; name.empty(); ++i)
    if (std::ranges::count(adapters_, cat("default_", i), &Adapter::name) == 0) name = cat("default_", i);
  const auto old = std::ranges::find(adapters_, name, &Adapter::name);
  if (old != adapters_.end() && !hotswap)
    throw UsageError(cat("adapter \"", name, "\" is loaded already: give the other one another name, delete it first, or load with hotswap"));
  if (hotswap && (old == adapters_.end() || !hotswap_rank_))
    throw UsageError(cat("load_lora_weights with hotswap: ", old == adapters_.end() ? cat("there is no adapter \"", name, "\" to be replaced")
                                                                                    : "enable_lora_hotswap was not called before the first adapter"));
  Loras loras = read(path, parts);
  if (hotswap) {
    for (const auto& [part, lora] : loras)
      if (!old->loras.contains(part))
        throw UserError(cat(path.string(), ": is for ", part, " too, for which the adapter that it replaces has nothing"));
    for (auto& [part, slots] : old->loras) {
      std::shared_ptr<const Lora>& lora = loras[part];
      lora = (lora ? *lora : Lora()).padded(*hotswap_rank_, slots.get());
    }
    old->loras = std::move(loras);
    return apply(parts);
  }
  if (hotswap_rank_)
    for (auto& [part, lora] : loras) lora = lora->padded(*hotswap_rank_, nullptr);
  for (Adapter& other : adapters_) other.active.reset();
  adapters_.push_back({.name = std::move(name), .loras = std::move(loras), .fused = {}});
  apply(parts);
}

void Adapters::set(const std::vector<std::string>& names, const std::vector<double>& weights, const Parts& parts) {
  if (!weights.empty() && weights.size() != names.size())
    throw UsageError(cat("set_adapters: ", names.size(), " names and ", weights.size(), " weights: expected as many"));
  for (double weight : weights)
    if (!std::isfinite(weight)) throw UsageError(cat("set_adapters: a weight is ", weight, ": expected a number"));
  for (const std::string& name : names) (void)at(name);
  for (Adapter& adapter : adapters_) adapter.active.reset();
  for (size_t i = 0; i < names.size(); ++i) {
    at(names[i]).active = i;
    at(names[i]).weight = weights.empty() ? 1 : weights[i];
  }
  apply(parts);
}

void Adapters::remove(const std::vector<std::string>& names, const Parts& parts) {
  for (const std::string& name : names) (void)at(name);
  std::erase_if(adapters_, [&](const Adapter& a) {
    const bool gone = std::ranges::count(names, a.name) > 0;
    if (gone && a.fused) fused_.emplace_back(a.loras, *a.fused);
    return gone;
  });
  apply(parts);
}

void Adapters::fuse(double scale, const std::vector<std::string>& names, const Parts& parts) {
  if (!std::isfinite(scale)) throw UsageError(cat("fuse_lora: lora_scale is ", scale, ": expected a number"));
  const std::vector<std::string> chosen = names.empty() ? active() : names;
  if (chosen.empty()) throw UsageError("fuse_lora: no adapter is active");
  for (const std::string& name : chosen) (void)at(name);
  for (const std::string& name : chosen) at(name).fused = at(name).weight * scale;
  apply(parts);
}

void Adapters::unfuse(const Parts& parts) {
  for (Adapter& adapter : adapters_) adapter.fused.reset();
  apply(parts);
}

void Adapters::enable_hotswap(int64_t rank) {
  if (rank < 1) throw UsageError(cat("enable_lora_hotswap: target_rank is ", rank, ": expected 1 or more"));
  if (!adapters_.empty()) throw UsageError("enable_lora_hotswap: call it before the first adapter is loaded");
  hotswap_rank_ = rank;
}

std::vector<std::string> Adapters::names() const {
  std::vector<std::string> result;
  result.reserve(adapters_.size());
  for (const Adapter& a : adapters_) result.push_back(a.name);
  return result;
}

std::vector<std::string> Adapters::active() const {
  std::vector<std::string> result;
  for (const Adapter* a : applied())
    if (a->active) result.push_back(a->name);
  return result;
}

bool Adapters::has_tokens() const {
  return std::ranges::any_of(text_encoders_, [](const auto& entry) { return !entry.second.tokens.empty(); });
}

std::vector<const Adapters::Adapter*> Adapters::applied() const {
  std::vector<const Adapter*> result;
  for (const Adapter& a : adapters_)
    if (a.fused || a.active) result.push_back(&a);
  std::ranges::stable_sort(result, {}, [](const Adapter* a) { return std::pair(!a->fused, a->active.value_or(0)); });
  return result;
}

void Adapters::apply(const Parts& parts) const {
  for (const auto& [name, model] : parts.models) {
    const std::string& part = name;  // which clang 16 lets the lambda capture
    std::vector<LoraLayer::Weighted> loras;
    const auto add = [&](const Loras& all, double weight) {
      if (const auto found = all.find(part); found != all.end()) loras.emplace_back(found->second, weight);
    };
    for (const auto& [all, weight] : fused_) add(all, weight);
    for (const Adapter* a : applied()) add(a->loras, a->fused.value_or(a->weight));
    WeightLayers layers;
    if (const auto found = text_encoders_.find(part); found != text_encoders_.end() && !found->second.tokens.empty()) {
      std::vector<StoredTensor> vectors;
      for (const Token& token : found->second.tokens) vectors.push_back(token.vectors);
      layers.push_back(std::make_shared<TokenEmbeddings>(static_cast<const CLIPTokenizer&>(*found->second.tokenizer).size(), std::move(vectors)));
    }
    if (!loras.empty()) layers.push_back(std::make_shared<LoraLayer>(std::move(loras)));
    model->component().set_adapters(layers);
  }
}

void DiffusionPipeline::load_lora_weights(const std::filesystem::path& path, const std::string& adapter_name, bool hotswap) {
  loaded_->adapters.load(path, adapter_name, hotswap, loaded_->parts);
}
void DiffusionPipeline::set_adapters(const std::vector<std::string>& names, const std::vector<double>& weights) {
  loaded_->adapters.set(names, weights, loaded_->parts);
}
void DiffusionPipeline::delete_adapters(const std::vector<std::string>& names) { loaded_->adapters.remove(names, loaded_->parts); }
void DiffusionPipeline::unload_lora_weights() { loaded_->adapters.remove(loaded_->adapters.names(), loaded_->parts); }
void DiffusionPipeline::fuse_lora(double lora_scale, const std::vector<std::string>& adapter_names) {
  loaded_->adapters.fuse(lora_scale, adapter_names, loaded_->parts);
}
void DiffusionPipeline::unfuse_lora() { loaded_->adapters.unfuse(loaded_->parts); }
void DiffusionPipeline::enable_lora_hotswap(int64_t target_rank) { loaded_->adapters.enable_hotswap(target_rank); }
std::vector<std::string> DiffusionPipeline::get_active_adapters() const { return loaded_->adapters.active(); }
std::vector<std::string> DiffusionPipeline::get_list_adapters() const { return loaded_->adapters.names(); }

}  // namespace vivace
