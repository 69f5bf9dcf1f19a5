#include "weights/file_layer.h"

#include <algorithm>
#include <map>

#include "base/json.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kNote = ".comfy_quant";

// ComfyUI writes beside a quantised weight how it is, as JSON: what is no scale times 8 bits is refused. Gives the blocks in which a weight's rows
// are turned ("convrot"), 0 where they are not.
int64_t read_note(const WeightInfo& note) {
  const std::string layer = note.name.substr(0, note.name.size() - kNote.size());
  const Config how = Config::parse({static_cast<const char*>(note.data), note.bytes}, cat(note.file, ": tensor \"", note.name, "\""));
  const auto format = how.get_or<std::string>("format", "");
  const auto refuse = [&](const std::string& what) { throw UserError(cat(note.file, ": layer \"", layer, "\" is quantised as ", what)); };
  if (format != "float8_e4m3fn" && format != "float8_e5m2" && format != "int8_tensorwise")
    refuse(cat("\"", format, "\", which is not supported: expected float8_e4m3fn, float8_e5m2 or int8_tensorwise"));
  if (!how.get_or<bool>("convrot", false)) return 0;
  const auto block = how.get_or<int64_t>("convrot_groupsize", 256);
  // Powers of 4, of which its matrix is made.
  if (block != 16 && block != 64 && block != 256) refuse(cat(format, " in rotated groups of ", block, ": expected 16, 64 or 256"));
  return block;
}

// The same values in another shape; where they are stored, so are they.
ModelWeight reshaped(const ModelWeight& weight, const Shape& shape) {
  if (shape == weight.shape) return weight;
  if (weight.make) return made_of({weight}, weight.dtype, shape, [shape](Builder& b, std::span<const Value> x) { return b.reshape(x[0], shape); });
  StoredTensor part = weight.parts[0];
  part.info.shape = shape;
  return as_stored(std::move(part));
}

ModelWeight transposed(const ModelWeight& weight) {
  const Shape& shape = weight.shape;
  if (shape.size() != 2)
    throw UserError(cat(weight.parts[0].info.file, ": tensor \"", weight.parts[0].info.name, "\" is ", to_string(shape), ": expected a matrix"));
  return made_of({weight}, weight.dtype, {shape[1], shape[0]}, [](Builder& b, std::span<const Value> x) { return b.transpose(x[0], {1, 0}); });
}

ModelWeight with_halves_swapped(const ModelWeight& weight) {
  const int64_t rows = weight.shape.empty() ? 0 : weight.shape[0], half = rows / 2;
  return made_of({weight}, weight.dtype, weight.shape, [rows, half](Builder& b, std::span<const Value> x) {
    return b.concat({b.slice(x[0], 0, half, rows), b.slice(x[0], 0, 0, half)}, 0);
  });
}

// [out, in, 1, 1] is [out, in].
ModelWeight as_matrix(const ModelWeight& weight) {
  Shape shape = weight.shape;
  while (shape.size() > 2 && shape.back() == 1) shape.pop_back();
  return reshaped(weight, shape);
}

class FileLayer final : public WeightLayer {
 public:
  FileLayer(const Spelling& spelling, const WeightMap& files) : rules_(spelling.rules) {
    std::vector<std::string_view> names;
    for (const WeightInfo& weight : files.weights()) names.push_back(weight.name);
    numbers_ = count_numbers(spelling.numbers, names);
    structure_ = cat("spelled ", spelling.prefix, ' ', spelling.probe, ": ", file_layer_version);
    for (const WeightInfo& note : files.weights()) {
      if (!note.name.ends_with(kNote) || note.dtype != DType::uint8) continue;
      const int64_t block = read_note(note);
      if (block == 0) continue;
      const std::string layer = note.name.substr(0, note.name.size() - kNote.size());
      turned_[layer + ".weight"] = block;
      structure_ += cat(' ', layer, " turned ", block);
    }
    for (const WeightInfo& weight : files.weights())
      if (weight.format) structure_ += cat(' ', weight.name, ' ', block_format_info(*weight.format).name);
  }

  std::optional<ModelWeight> find(std::string_view name, const Below& below) const override {
    for (const FileName& file : file_names(rules_, numbers_, name)) {
      const std::optional<ModelWeight> held = below(file.name);
      if (!held) continue;
      const ModelWeight part = as_it_was(values_of(cut(*held, file.rows), file, below), file.name);
      switch (file.change) {
        case Change::none:
          return part;
        case Change::transpose:
          return transposed(part);
        case Change::swap_halves:
          return with_halves_swapped(part);
        case Change::matrix:
          return as_matrix(part);
      }
    }
    return std::nullopt;
  }

  std::string structure() const override { return structure_; }

 private:
  // Goes up where a rule or what is made of a change changes.
  static constexpr int file_layer_version = 2;

  static ModelWeight cut(const ModelWeight& weight, const RowPart& part) {
    if (part.of == 1) return weight;
    const int64_t all = weight.shape.empty() ? 0 : weight.shape[0];
    if (all % part.of != 0) {
      const WeightInfo& info = weight.parts[0].info;
      throw UserError(
          cat(info.file, ": tensor \"", info.name, "\" is ", to_string(weight.shape), ": expected rows that are ", part.of, " equal parts"));
    }
    return rows(weight, all / part.of * part.begin, all / part.of * part.end);
  }

  // In blocks or in 8 bits: the values, times the scale beside them.
  static ModelWeight values_of(const ModelWeight& held, const FileName& file, const Below& below) {
    const WeightInfo& info = held.parts[0].info;
    std::optional<BlockFormat> format = info.format;
    if (info.dtype == DType::float8_e4m3) format = BlockFormat::float8_e4m3;
    if (info.dtype == DType::int8) format = BlockFormat::int8;
    if (!format) return held;
    ModelWeight values = widened(held, *format);
    const std::optional<ModelWeight> scale = scale_of(file, below, values.shape);
    if (!scale && format == BlockFormat::int8)
      throw UserError(cat(info.file, ": tensor \"", info.name, "\" is int8, but there is no weight_scale beside it"));
    const Shape shape = values.shape;
    if (!scale) return values;
    return made_of({std::move(values), *scale}, DType::float32, shape,
                   [](Builder& b, std::span<const Value> x) { return b.mul(x[0], b.cast(x[1], DType::float32)); });
  }

  // Rows that were turned for their quantisation, turned back.
  ModelWeight as_it_was(ModelWeight weight, const std::string& tensor) const {
    const auto turned = turned_.find(tensor);
    if (turned == turned_.end()) return weight;
    const int64_t block = turned->second;
    if (weight.shape.size() != 2 || weight.shape[1] % block != 0)
      throw UserError(cat(weight.parts[0].info.file, ": tensor \"", tensor, "\" is ", to_string(weight.shape), ": expected rows of whole groups of ",
                          block, ", in which its note says that it is rotated"));
    Shape shape = weight.shape;
    return made_of({std::move(weight)}, DType::float32, std::move(shape), [block](Builder& b, std::span<const Value> x) {
      return b.emit(Op::hadamard, {b.cast(x[0], DType::float32)}, {{"block", block}});
    });
  }

  // Of the whole tensor, or of each row; in a shape that is broadcast over the weight's.
  static std::optional<ModelWeight> scale_of(const FileName& file, const Below& below, const Shape& shape) {
    if (!file.name.ends_with("weight")) return std::nullopt;
    const std::string layer = file.name.substr(0, file.name.size() - 6);
    for (const char* name : {"scale_weight", "weight_scale"}) {
      const std::optional<ModelWeight> scale = below(layer + name);
      if (!scale) continue;
      const int64_t count = numel(scale->shape);
      if (count == 1) return reshaped(*scale, {1});
      Shape rows(shape.size(), 1);
      if (!rows.empty()) rows[0] = shape[0];
      const ModelWeight part = cut(reshaped(*scale, {count}), file.rows);
      if (shape.empty() || part.shape[0] != shape[0])
        throw UserError(cat(scale->parts[0].info.file, ": tensor \"", layer, name, "\" is ", to_string(scale->shape),
                            ": expected one scale, or one for each of ", shape.empty() ? 1 : shape[0], " rows"));
      return reshaped(part, rows);
    }
    return std::nullopt;
  }

  std::span<const NameRule> rules_;
  RuleNumbers numbers_;
  std::map<std::string, int64_t> turned_;  // tensors whose rows are turned, and in which blocks
  std::string structure_;
};

constexpr NameRule kAsTheyAre[] = {{"*", "*"}};

}  // namespace

WeightLayers storage_layers(const WeightMap& files) {
  if (std::ranges::none_of(files.weights(), [](const WeightInfo& weight) { return weight.format.has_value(); })) return {};
  return {file_layer({.prefix = "", .probe = "", .rules = kAsTheyAre}, files)};
}

std::shared_ptr<const WeightLayer> file_layer(const Spelling& spelling, const WeightMap& files) {
  return std::make_shared<FileLayer>(spelling, files);
}

}  // namespace vivace
