#include "components/quantized_checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/parallel.h"
#include "tensor/narrow_weight.h"
#include "vivace/error.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kField = "quantization_config";

// The weight behind a value, through a cast; kNone for anything else.
NodeId weight_behind(const Graph& graph, NodeId id) {
  if (id != kNone && graph[id].op == Op::cast) id = graph[id].inputs[0];
  return id != kNone && graph[id].op == Op::weight ? id : kNone;
}

// The layers whose weight is stored in 8 bits, with that dtype. `file` is for messages.
std::map<std::string, DType> narrow_layers(const Graph& graph, const std::string& file) {
  std::map<std::string, DType> layers;
  for (const Node& node : graph.nodes)
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const NodeId id = weight_behind(graph, node.inputs[i]);
      if (id == kNone || node.op == Op::cast) continue;
      const std::string& tensor = graph[id].attrs.text("name");
      const DType dtype = graph[id].dtype;
      const bool is_linear = node.op == Op::linear;
      if (is_linear && i == 4 && (!is_floating(dtype) || is_narrow(dtype)))
        throw UserError(cat(file, ": tensor \"", tensor, "\" is ", dtype_name(dtype), ": expected the scales of an 8-bit weight as floats"));
      if (is_linear && i == 1 && is_narrow(dtype))
        layers[node.scope] = dtype;
      else if (!is_floating(dtype) || is_narrow(dtype))
        throw UserError(cat(file, ": tensor \"", tensor, "\" is stored as ", dtype_name(dtype),
                            ": only the weights of linear layers can be, with their scales; use a checkpoint in fp32, fp16 or bf16"));
    }
  return layers;
}

struct NarrowWeight {
  Tensor values, scales;
};

NarrowWeight narrowed(const WeightInfo& weight, Quantization kind) {
  const DType storage = stored_dtype(kind);
  if (weight.shape.size() != 2)
    throw UsageError(
        cat("a checkpoint in 8 bits: tensor \"", weight.name, "\" is ", to_string(weight.shape), ": expected the matrix of a linear layer"));
  const int64_t n = weight.shape[0], k = weight.shape[1], row_bytes = k * static_cast<int64_t>(dtype_size(weight.dtype));
  NarrowWeight result{Tensor(weight.shape, storage), Tensor({n}, DType::float32)};
  parallel_for(n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      char* source = const_cast<char*>(static_cast<const char*>(weight.data)) + r * row_bytes;
      const Tensor row = Tensor::view({k}, weight.dtype, source).to(DType::float32);
      const float* x = row.as<float>();
      const NarrowRow narrow(storage, std::max(absmax(x, k), multiplies_int8(kind) ? largest_pair(x, k) : 0.f));
      result.scales.as<float>()[r] = narrow.scale();
      for (int64_t i = 0; i < k; ++i)
        if (storage == DType::int8)
          result.values.as<int8_t>()[r * k + i] = narrow.int8(x[i]);
        else
          result.values.as<f8e4m3>()[r * k + i] = narrow.float8(x[i]);
    }
  });
  return result;
}

// Everything but the unet's weights and their index.
void copy_rest(const fs::path& model, const fs::path& out) {
  std::error_code error;
  if (is_within(out, model)) throw UsageError(cat(out.string(), " is the model itself or lies in it: choose another folder to write"));
  fs::create_directories(out, error);
  if (error) throw UserError(cat("cannot make the folder ", out.string(), ": ", error.message()));
  for (const auto& entry : fs::recursive_directory_iterator(model, fs::directory_options::follow_directory_symlink)) {
    const fs::path inside = entry.path().lexically_relative(model), to = out / inside;
    const bool unet_weights = *inside.begin() == "unet" && entry.path().filename().string().find(".safetensors") != std::string::npos;
    error.clear();
    if (entry.is_directory())
      fs::create_directories(to, error);
    else if (!unet_weights)
      fs::copy_file(entry.path(), to, fs::copy_options::overwrite_existing, error);
    if (error) throw UserError(cat("cannot write ", to.string(), ": ", error.message()));
  }
}

void write_weights(const fs::path& path, const WeightMap& weights, const QuantizedCheckpointOptions& options) {
  struct Source {
    const WeightInfo* weight;
    enum { as_stored, values, scales } part;
  };
  std::vector<TensorSpec> specs;
  std::vector<Source> sources;
  const DType storage = stored_dtype(options.kind);
  for (const WeightInfo& weight : weights.weights()) {
    const std::string layer = weight.name.ends_with(".weight") ? weight.name.substr(0, weight.name.size() - 7) : "";
    if (!options.layers.contains(layer)) {
      specs.push_back({weight.name, weight.dtype, weight.shape});
      sources.push_back({&weight, Source::as_stored});
      continue;
    }
    specs.push_back({weight.name, storage, weight.shape});
    sources.push_back({&weight, Source::values});
    specs.push_back({layer + ".weight_scale", DType::float32, {weight.shape[0]}});
    sources.push_back({&weight, Source::scales});
  }
  write_safetensors(path, specs, {{"format", "pt"}}, [&](size_t i) {
    if (options.on_tensor) options.on_tensor(specs[i].name);
    const Source& source = sources[i];
    if (source.part == Source::as_stored) return weights.tensor(source.weight->name);
    NarrowWeight narrow = narrowed(*source.weight, options.kind);
    weights.release(*source.weight);
    return source.part == Source::values ? narrow.values : narrow.scales;
  });
}

}  // namespace

LayerQuantization stored_quantization(const Config& config, const WeightStack& weights, const std::function<Graph()>& graph) {
  const bool says_so = config.has(kField) && !config.is_null(kField);
  if (!says_so && std::ranges::none_of(weights.files().weights(), [](const WeightInfo& w) { return is_narrow(w.dtype); })) return {};
  const std::map<std::string, DType> layers = narrow_layers(graph(), config.name());
  if (!says_so) {
    if (layers.empty()) return {};
    throw UserError(cat(config.name(), ": field \"", kField, "\" is missing, but tensor \"", layers.begin()->first, ".weight\" is stored as ",
                        dtype_name(layers.begin()->second), ": a folder that vivace quantize wrote has it"));
  }
  const Config how = config.object(kField);
  how.one_of("quant_method", {"vivace"});
  const Quantization kind =
      parse_quantization(how.one_of("quant_type", {"int8-dynamic", "float8-dynamic", "int8-weight-only", "float8-weight-only"}));
  if (layers.empty())
    throw UserError(cat(config.name(), ": field \"", kField, "\" says ", quantization_name(kind),
                        ", but no weight is stored in 8 bits: were the weights replaced?"));
  LayerQuantization result;
  for (const auto& [layer, dtype] : layers) {
    if (dtype != stored_dtype(kind))
      throw UserError(cat(config.name(), ": field \"", kField, "\" says ", quantization_name(kind), ", but tensor \"", layer, ".weight\" is ",
                          dtype_name(dtype)));
    result[layer] = kind;
  }
  return result;
}

void write_quantized_checkpoint(const fs::path& model, const fs::path& out, const QuantizedCheckpointOptions& options) {
  const WeightMap weights = WeightMap::open(model / "unet", options.variant);
  nlohmann::json config = read_json(model / "unet" / "config.json");
  if (config.contains(kField))
    throw UserError(cat((model / "unet" / "config.json").string(), " has a ", kField, " already: quantise the checkpoint it was made from"));
  copy_rest(model, out);
  const std::string stem = "diffusion_pytorch_model", file = stem + ".safetensors";
  write_weights(out / "unet" / file, weights, options);
  remove_weights_but(out / "unet", stem, {file});
  config[kField] = {{"quant_method", "vivace"}, {"quant_type", quantization_name(options.kind)}};
  write_file(out / "unet" / "config.json", json_text(config, 2) + "\n");
}

}  // namespace vivace
