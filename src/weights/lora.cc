#include "weights/lora.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kWeight = ".weight";

// A factor with zeros behind it, float32: [r, ...] of `rank` rows, or [out, r] of `rank` columns.
StoredTensor padded_factor(const StoredTensor& factor, int64_t rank, bool rows) {
  const Tensor values = Tensor::view(factor.info.shape, factor.info.dtype, const_cast<void*>(factor.info.data)).to(DType::float32);
  const int64_t height = values.dim(0), width = values.numel() / height;
  const Shape shape = rows ? Shape{rank, width} : Shape{height, rank};
  Tensor result = Tensor::zeros(shape);
  for (int64_t i = 0; i < height; ++i)
    std::memcpy(result.as<float>() + i * shape[1], values.as<float>() + i * width, static_cast<size_t>(width) * sizeof(float));
  StoredTensor kept = stored(result);
  kept.replaceable = true;
  return kept;
}

}  // namespace

std::shared_ptr<const LoraFile> LoraFile::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw UserError(cat(path.string(), ": file not found: expected a LoRA, a .safetensors file or a folder with pytorch_lora_weights.safetensors"));
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "pytorch_lora_weights.safetensors" : path;
  if (file.extension() != ".safetensors")
    throw UserError(cat(file.string(), ": expected a .safetensors file: other formats can hold programs; convert it first"));
  std::shared_ptr<const LoraFile> result(new LoraFile(WeightMap::open(file)));
  result->weights().check_finite();
  return result;
}

LoraFile::LoraFile(WeightMap weights) : origins_(std::make_shared<const WeightOrigins>(std::move(weights), CacheFolder())) {
  const TensorFile& file = *this->weights().files().front();
  const std::filesystem::path path = file.path(), beside = path.parent_path() / "adapter_config.json";
  std::string name = this->weights().name(), metadata = "{}";  // as text, in which the order of patterns counts
  std::error_code ignored;
  if (const auto found = file.metadata().find("lora_adapter_metadata");
      found != file.metadata().end() && !strict_json(found->second).is_discarded()) {
    metadata = found->second;
  } else if (path.filename() == "adapter_model.safetensors" && std::filesystem::exists(beside, ignored)) {
    name = beside.string();
    metadata = read_file(beside);
    of_peft_ = parse_json(metadata, name).is_object();
  }
  constexpr std::string_view kPattern = "alpha_pattern";
  const auto config = strict_ordered_json(metadata);
  if (!config.is_object()) return;
  for (const auto& [key, value] : config.items()) {
    if (value.is_number()) numbers_[key] = value.get<double>();
    if (value.is_boolean() && value.get<bool>()) flags_.insert(key);
    if (key.ends_with(kPattern)) alpha_patterns_.emplace(key.substr(0, key.size() - kPattern.size()), PeftPattern(value, cat(name, ": ", key)));
  }
}

double LoraFile::scale(const std::string& part, const std::string& module, int64_t rank, const WeightInfo* alpha) const {
  if (rank == 0) return 1;
  const std::string prefix = part_prefix(part);
  double value = static_cast<double>(rank);
  for (const char* key : {"alpha", "lora_alpha"})  // of LoHa and LoKr, of LoRA
    if (const auto general = numbers_.find(prefix + key); general != numbers_.end()) value = general->second;
  if (const auto pattern = alpha_patterns_.find(prefix); pattern != alpha_patterns_.end()) value = pattern->second.of(module).value_or(value);
  if (alpha) {
    if (numel(alpha->shape) != 1)
      throw UserError(cat(weights().name(), ": tensor \"", alpha->name, "\" is ", to_string(alpha->shape), ": expected one number"));
    value = weights().tensor(alpha->name).to(DType::float32).floats()[0];
  }
  const auto by = static_cast<double>(rank);
  return value / (flags_.contains(prefix + "use_rslora") ? std::sqrt(by) : by);
}

std::shared_ptr<const Lora> Lora::read(const LoraFile& file, const AdapterTarget& target, std::set<std::string>& used) {
  const auto result = std::make_shared<Lora>();
  const WeightMap& own = file.weights();
  result->file_ = own.name();
  const LoraSpelling spelling(target);
  for (const auto& [name, shape] : target.weights) {
    if (!name.ends_with(kWeight) || shape.size() < 2) continue;
    const std::string module = name.substr(0, name.size() - kWeight.size());
    for (const FileName& place : spelling.of(module)) {
      std::optional<LoraDelta> delta = find_delta(file.origins(), place.name);
      if (!delta) continue;
      const RowPart& part = place.rows;
      LoraWeight weight{.delta = {},
                        .begin = delta->rows / part.of * part.begin,
                        .end = delta->rows / part.of * part.end,
                        .swap_halves = place.change == Change::swap_halves};
      const int64_t rows = shape[0], columns = numel(shape) / rows;
      if (delta->rows % part.of != 0 || weight.end - weight.begin != rows || delta->columns != columns)
        throw UserError(cat(own.name(), ": ", factors_text(*delta), " do not fit ", target.part, "'s ", module, ' ', to_string(shape),
                            part.of > 1 ? cat(", which is ", part.end - part.begin, " of ", part.of, " parts of the rows") : "",
                            ": the file is for another model"));
      const WeightInfo* alpha = own.find(place.name + ".alpha");
      weight.scale = file.scale(target.part, module, delta->rank, alpha);
      if (alpha) used.insert(alpha->name);
      for (const char* suffix : {".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".dora_scale"})
        if (const WeightInfo* magnitude = own.find(place.name + suffix)) {
          // LyCORIS' dora_scale of [1, columns, ..] is of what is read, as large where a layer is square; peft's convolutions have [1, rows, 1, 1].
          const bool first = std::string_view(suffix) != ".dora_scale" || (!magnitude->shape.empty() && magnitude->shape[0] == delta->rows);
          if (!first || numel(magnitude->shape) != delta->rows)
            throw UserError(cat(own.name(), ": tensor \"", magnitude->name, "\" is ", to_string(magnitude->shape), ": expected a number for each of ",
                                delta->rows, " rows, [", delta->rows, "] or [", delta->rows, ", 1]"));
          weight.magnitude = stored(file.origins(), *magnitude);
          weight.magnitude->replaceable = true;
          used.insert(magnitude->name);
        }
      for (const StoredTensor& factor : delta->factors) used.insert(factor.info.name);
      weight.delta = *std::move(delta);
      result->weights_.emplace(name, std::move(weight));
      break;
    }
  }
  return result;
}

std::shared_ptr<const Lora> Lora::padded(int64_t rank, const Lora* slots) const {
  const auto result = std::make_shared<Lora>();
  result->file_ = file_;
  for (const auto& [name, weight] : weights_) {
    const std::string where = cat(file_, ": ", factors_text(weight.delta));
    if (weight.delta.kind != LoraDelta::Kind::lora || weight.delta.cores > 0 || weight.magnitude)
      throw UserError(where + ": only LoRAs are hot swapped");
    if (weight.delta.rank > rank) throw UserError(cat(where, " have rank ", weight.delta.rank, ": enable_lora_hotswap was called with ", rank));
    if (slots && !slots->find(name)) throw UserError(cat(where, " are for ", name, ", for which the adapter that it replaces has nothing"));
    LoraWeight& own = result->weights_.emplace(name, weight).first->second;
    own.delta.factors = {padded_factor(weight.delta.factors[0], rank, false), padded_factor(weight.delta.factors[1], rank, true)};
    own.delta.rank = rank;
  }
  if (!slots) return result;
  for (const auto& [name, slot] : slots->weights_) {
    if (result->find(name)) continue;
    LoraWeight& own = result->weights_.emplace(name, slot).first->second;
    own.scale = 0;
    for (StoredTensor& factor : own.delta.factors) {
      factor = stored(Tensor::zeros(factor.info.shape));
      factor.replaceable = true;
    }
  }
  return result;
}

const LoraWeight* Lora::find(std::string_view weight) const {
  const auto found = weights_.find(weight);
  return found == weights_.end() ? nullptr : &found->second;
}

std::string Lora::structure() const {
  std::string text;
  for (const auto& [name, weight] : weights_) {
    text += cat(name, ' ', static_cast<int>(weight.delta.kind), ' ', weight.delta.cores, ' ', weight.begin, ' ', weight.end, ' ', weight.swap_halves,
                ' ', weight.magnitude.has_value());
    for (const StoredTensor& factor : weight.delta.factors) text += cat(' ', dtype_name(factor.info.dtype), to_string(factor.info.shape));
    text += '\n';
  }
  return text;
}

std::optional<ModelWeight> LoraLayer::find(std::string_view name, const Below& below) const {
  std::optional<ModelWeight> beneath = below(name);
  if (!beneath) return beneath;
  std::vector<ModelWeight> weights{*beneath};
  // A weight of 8 bits has a scale for each row beside it.
  const std::optional<ModelWeight> scales = dtype_size(beneath->dtype) == 1 ? below(cat(name, "_scale")) : std::nullopt;
  if (scales) weights.push_back(*scales);
  std::vector<LoraWeight> added;
  for (const auto& [lora, strength] : loras_) {
    const LoraWeight* own = lora->find(name);
    if (!own) continue;
    for (const StoredTensor& factor : own->delta.factors) weights.push_back(as_stored(factor));
    if (own->magnitude) weights.push_back(as_stored(*own->magnitude));
    StoredTensor number = stored(Tensor::from({static_cast<float>(strength * own->scale)}));
    number.replaceable = true;
    weights.push_back(as_stored(std::move(number)));
    added.push_back(*own);
  }
  if (added.empty()) return beneath;
  const Shape shape = beneath->shape;
  return made_of(
      std::move(weights), DType::float32, shape,
      [shape, added = std::move(added), scaled = scales.has_value()](Builder& b, std::span<const Value> nodes) {
        const int64_t rows = shape[0], columns = numel(shape) / rows;
        const auto column = [&](Value x, int64_t height) { return b.reshape(b.cast(x, DType::float32), {height, 1}); };
        Value whole = b.cast(nodes[0], DType::float32);
        if (shape.size() > 2) whole = b.reshape(whole, {rows, columns});
        nodes = nodes.subspan(1);
        if (scaled) {
          whole = b.mul(whole, column(nodes[0], rows));
          nodes = nodes.subspan(1);
        }
        Value sum = whole;
        for (const LoraWeight& own : added) {
          const size_t factors = own.delta.factors.size();
          const Value strength = nodes[factors + (own.magnitude ? 1 : 0)];
          const auto in_order = [&](Value x) {
            return own.swap_halves ? b.concat({b.slice(x, 0, rows / 2, rows), b.slice(x, 0, 0, rows / 2)}, 0) : x;
          };
          const Value delta = in_order(build_delta(b, own.delta, nodes.first(factors), strength, own.begin, own.end));
          if (own.magnitude) {
            const Value total = b.add(whole, delta), square = b.emit(Op::reduce_sum, {b.mul(total, total)}, {{"axes", std::vector<int64_t>{1}}});
            const Value wanted = in_order(b.slice(column(nodes[factors], own.delta.rows), 0, own.begin, own.end));
            sum = b.mul(b.add(sum, delta), b.mul(wanted, b.emit(Op::rsqrt, {square})));
          } else {
            sum = b.add(sum, delta);
          }
          nodes = nodes.subspan(factors + (own.magnitude ? 2 : 1));
        }
        return shape.size() > 2 ? b.reshape(sum, {shape.begin(), shape.end()}) : sum;
      });
}

std::string LoraLayer::structure() const {
  std::string text = "adapters\n";
  for (const auto& [lora, strength] : loras_) text += lora->structure() + '\n';
  return text;
}

}  // namespace vivace
