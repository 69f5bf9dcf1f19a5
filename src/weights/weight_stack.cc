#include "weights/weight_stack.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>

#include "base/log.h"
#include "vivace/error.h"
#include "weights/name_list.h"

namespace vivace {
namespace {

bool is_ignored(std::string_view name, std::span<const std::string> ignored) {
  if (name == "position_ids" || name.ends_with(".position_ids")) return true;
  return std::ranges::any_of(ignored, [&](const std::string& entry) { return entry.ends_with('.') ? name.starts_with(entry) : name == entry; });
}

}  // namespace

StoredTensor stored(std::shared_ptr<const WeightOrigins> origins, const WeightInfo& tensor) {
  const FileMap* map = &origins->weights().file_of(tensor).map();
  return {tensor, map, origins, [origins, &tensor] { return origins->of(tensor); }};
}

StoredTensor stored(const Tensor& tensor) {
  const auto kept = std::make_shared<const Tensor>(tensor);
  const WeightInfo info{"", kept->dtype(), kept->shape(), kept->data(), kept->bytes(), {}, 0};
  return {info, nullptr, kept, [kept] { return hash128(kept->data(), kept->bytes()); }};
}

ModelWeight as_stored(StoredTensor tensor) {
  const DType dtype = tensor.info.dtype;
  Shape shape = tensor.info.shape;
  return {dtype, std::move(shape), {std::move(tensor)}, nullptr};
}

ModelWeight made_of(std::vector<ModelWeight> weights, DType dtype, Shape shape, ModelWeight::Make make) {
  ModelWeight result{dtype, std::move(shape), {}, nullptr};
  std::vector<std::pair<size_t, ModelWeight::Make>> inner;  // how many parts, and what is made of them
  for (ModelWeight& w : weights) {
    inner.emplace_back(w.parts.size(), std::move(w.make));
    std::ranges::move(w.parts, std::back_inserter(result.parts));
  }
  result.make = [inner = std::move(inner), make = std::move(make)](Builder& b, std::span<const Value> parts) {
    std::vector<Value> values;
    for (const auto& [count, made] : inner) {
      values.push_back(made ? made(b, parts.first(count)) : parts[0]);
      parts = parts.subspan(count);
    }
    return make(b, values);
  };
  return result;
}

ModelWeight widened(const ModelWeight& blocks, BlockFormat format) {
  WeightInfo values = blocks.parts[0].info;
  values.format = format;
  return made_of({blocks}, DType::float32, values_shape(values), [format](Builder& b, std::span<const Value> x) {
    return b.emit(Op::widen, {x[0]}, {{"format", std::string(block_format_info(format).name)}});
  });
}

ModelWeight rows(const ModelWeight& weight, int64_t begin, int64_t end) {
  Shape shape = weight.shape;
  if (shape.empty() || begin < 0 || end < begin || end > shape[0])
    throw InternalError(cat("rows ", begin, " to ", end, " of a weight ", to_string(shape)));
  const int64_t all = std::exchange(shape[0], end - begin);
  if (weight.make)
    return made_of({weight}, weight.dtype, shape, [begin, end](Builder& b, std::span<const Value> x) { return b.slice(x[0], 0, begin, end); });
  StoredTensor part = weight.parts[0];
  const size_t row = all > 0 ? part.info.bytes / static_cast<size_t>(all) : 0;
  part.info.shape = shape;
  part.info.data = static_cast<const std::byte*>(part.info.data) + static_cast<size_t>(begin) * row;
  part.info.bytes = static_cast<size_t>(end - begin) * row;
  part.origin = [whole = part.origin, begin, end] { return hash128(cat("rows ", begin, ' ', end, " of ", to_string(whole()))); };
  return as_stored(std::move(part));
}

struct WeightStack::Found {
  std::mutex mutex;
  std::map<std::string, std::optional<ModelWeight>, std::less<>> weights;
};

WeightStack::WeightStack(WeightMap files, CacheFolder cache)
    : origins_(std::make_shared<const WeightOrigins>(std::move(files), std::move(cache))), found_(std::make_shared<Found>()) {
  files_ = {origins_, &origins_->weights()};
}

WeightStack WeightStack::over(const WeightLayers& layers) const {
  WeightStack result = *this;
  result.layers_.insert(result.layers_.end(), layers.begin(), layers.end());
  result.found_ = std::make_shared<Found>();
  return result;
}

std::optional<ModelWeight> WeightStack::find_under(size_t layers, std::string_view name) const {
  if (layers > 0) return layers_[layers - 1]->find(name, [&](std::string_view other) { return find_under(layers - 1, other); });
  const WeightInfo* info = files_->find(name);
  return info ? std::optional(as_stored(stored(origins_, *info))) : std::nullopt;
}

const ModelWeight* WeightStack::find(std::string_view name) const {
  const std::lock_guard lock(found_->mutex);
  auto known = found_->weights.find(name);
  if (known == found_->weights.end()) known = found_->weights.emplace(std::string(name), find_under(layers_.size(), name)).first;
  return known->second ? &*known->second : nullptr;
}

const WeightInfo* WeightStack::find_stored(std::string_view name) const {
  const ModelWeight* weight = find(name);
  return weight && !weight->make ? &weight->parts[0].info : nullptr;
}

std::string WeightStack::structure() const {
  std::string text;
  for (const auto& layer : layers_) text += layer->structure() + '\n';
  return text;
}

Value WeightStack::build(Builder& b, const Node& weight) const {
  const std::string& name = weight.attrs.text("name");
  const ModelWeight* made = find(name);
  if (!made || !made->make) return b.copy(weight);
  std::vector<Value> parts;
  for (size_t i = 0; i < made->parts.size(); ++i) {
    Node part = weight;
    part.attrs.set("name", cat(name, '.', i));
    part.dtype = made->parts[i].info.dtype;
    part.shape = made->parts[i].info.shape;
    parts.push_back(b.copy(part));
  }
  // Not in the scope of the module, whose name options may say something of.
  const auto scope = b.scope(name);
  const Value value = made->make(b, parts);
  const Node& node = b.node(value);
  if (node.dtype != made->dtype || node.shape != made->shape)
    throw InternalError(cat("weight \"", name, "\" is made as ", dtype_name(node.dtype), to_string(node.shape), " instead of ",
                            dtype_name(made->dtype), to_string(made->shape)));
  return value;
}

const StoredTensor& WeightStack::part(const std::string& node) const {
  if (const ModelWeight* weight = find(node); weight && !weight->make) return weight->parts[0];
  if (const size_t dot = node.rfind('.'); dot != node.npos) {
    const ModelWeight* weight = find(std::string_view(node).substr(0, dot));
    size_t number = 0;
    const char *begin = node.data() + dot + 1, *end = node.data() + node.size();
    if (weight && std::from_chars(begin, end, number).ptr == end && number < weight->parts.size()) return weight->parts[number];
  }
  throw UserError(cat(files_->name(), ": tensor \"", node, "\" is missing"));
}

WeightSource WeightStack::source() const {
  return {.find = [stack = *this](const std::string& node) -> WeightBytes {
            const StoredTensor& tensor = stack.part(node);
            if (tensor.map) tensor.map->check_unchanged();
            return {tensor.info.dtype, tensor.info.data};
          },
          .release =
              [stack = *this](const std::string& node) {
                const StoredTensor& tensor = stack.part(node);
                if (!tensor.map) return;
                const auto* data = static_cast<const std::byte*>(tensor.info.data);
                const FileMap& map = *tensor.map;
                if (data >= map.data() && data < map.data() + map.size()) map.dont_need(static_cast<size_t>(data - map.data()), tensor.info.bytes);
              },
          .origin = [stack = *this](const std::string& node) { return stack.part(node).origin(); },
          .replaceable = [stack = *this](const std::string& node) { return stack.part(node).replaceable; }};
}

bool WeightStack::check(std::span<const ExpectedWeight> expected, std::span<const std::string> ignored) const {
  NameList missing, extra, misshaped;
  std::set<std::pair<std::string_view, size_t>> read;  // of files, by file and number
  for (const ExpectedWeight& want : expected) {
    const ModelWeight* weight = find(want.name);
    if (!weight) {
      missing.add(want.name);
      continue;
    }
    for (const StoredTensor& part : weight->parts)
      if (part.map) read.emplace(part.info.file, part.info.index);
    if (weight->shape != want.shape) misshaped.add(cat(want.name, " (", to_string(weight->shape), ", expected ", to_string(want.shape), ")"));
  }
  for (const WeightInfo& weight : files_->weights())
    if (!read.contains({weight.file, weight.index}) && !is_ignored(weight.name, ignored)) extra.add(weight.name);
  const std::string& name = files_->name();
  if (missing.count() + misshaped.count() == 0) {
    if (extra.count() > 0) warn(name, ": ", extra.count(), " tensors are not used, as the model has no place for them: ", extra.text());
    return extra.count() == 0;
  }
  std::string text;
  const auto tell = [&](const NameList& list, std::string_view what) {
    if (list.count() > 0) text += cat(text.empty() ? "" : "; ", list.count(), what, list.text());
  };
  tell(missing, " missing: ");
  tell(extra, " not expected: ");
  tell(misshaped, " of another shape: ");
  throw UserError(cat(name, ": the weights do not fit config.json: ", text, "; check that both come from the same model"));
}

}  // namespace vivace
