#include "components/quantization.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "backends/devices.h"
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/measure.h"
#include "components/component.h"
#include "ops/builder.h"
#include "passes/passes.h"
#include "runtime/session.h"
#include "tensor/narrow_weight.h"
#include "vivace/error.h"
#include "vivace/generator.h"
#include "vivace/quality.h"

namespace vivace {
namespace {

// x w^T as the device computes it, with a quantised layer's arithmetic or its own.
Tensor product(const Tensor& x, const Tensor& w, std::optional<Quantization> kind) {
  const std::shared_ptr<Device> device = open_device();
  const std::string name = "layer";
  CompileOptions options;
  if (kind) options.quantize[name] = *kind;
  Builder b(DType::float32, [](const std::string&) { return DType::float32; });
  {
    const auto scope = b.scope(name);
    b.output("y", b.emit(Op::linear, {b.input("x", DType::float32, x.shape()), b.weight("w", w.shape())}));
  }
  const auto plan = std::make_shared<const Plan>(compile(b.take(), *device, options));
  ConstantStore store(device);
  Request request;
  Session session(plan, *device, store,
                  {.find =
                       [&](const std::string&) {
                         return WeightBytes{w.dtype(), w.data()};
                       },
                   .release = [](const std::string&) {}},
                  request);
  session.write("x", x);
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  return session.read("y", request);
}

// kMaxDrift's measure.
double drift(const WeightInfo& weight, Quantization kind) {
  constexpr int64_t kRows = 16, kChannels = 64;
  const int64_t n = weight.shape[0], k = weight.shape[1], channels = std::min(n, kChannels),
                row_bytes = k * static_cast<int64_t>(dtype_size(weight.dtype));
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < channels; ++i)
    rows.push_back(Tensor::view({1, k}, weight.dtype, const_cast<char*>(static_cast<const char*>(weight.data)) + i * n / channels * row_bytes)
                       .to(DType::float32));
  const Tensor w = concat_rows(rows), x = Generator(0).randn({kRows, k});
  return relative_rms(product(x, w, std::nullopt), product(x, w, kind));
}

struct Seconds {
  double floating, int8;
};

// One layer's product both ways, in turns, so that a slow moment hits both alike.
Seconds time_products(const LinearLayer& layer, DType dtype) {
  const std::shared_ptr<Device> device = open_device();
  // The list's choice.
  const auto takes = [](const KernelCall& call) {
    return [&call](const KernelEntry& entry) { return entry.op == call.op && entry.ask(call, open_device()->target()).offer; };
  };
  const Attrs plain, int8{{"compute", "int8_dynamic"}};
  const int64_t in = layer.info.in_features, out = layer.info.out_features;
  KernelCall call{.op = Op::linear,
                  .attrs = &plain,
                  .in = {Operand{dtype, {layer.rows, in}}, Operand{DType::float32, {out, in}, 0, true}},
                  .out = {dtype, {layer.rows, out}}};
  const KernelEntry& float_kernel = *std::ranges::find_if(device->kernels(), takes(call));
  KernelTimer floating(call, *device);
  call.attrs = &int8;
  const KernelEntry& int8_kernel = *std::ranges::find_if(device->kernels(), takes(call));
  KernelTimer quantized(call, *device);
  Seconds best{INFINITY, INFINITY};
  for (int round = 0; round < 3; ++round) {
    const TimingBudget budget{.runs = 3, .seconds = 0.05, .warm_up = round == 0};
    best.floating = std::min(best.floating, floating.time(float_kernel, "", budget).min);
    best.int8 = std::min(best.int8, quantized.time(int8_kernel, "", budget).min);
  }
  return best;
}

// What a measurement depends on besides the weights and the machine.
std::string text_of(const std::vector<LinearLayer>& layers) {
  std::string text;
  for (const LinearLayer& l : layers)
    text += cat(l.info.name, ' ', l.rows, ' ', l.info.in_features, ' ', l.info.out_features, ' ', dtype_name(l.stored), '\n');
  return text;
}

// A name a line.
std::string text_of(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + '\n';
  return text;
}

std::set<std::string> names_in(const std::string& text) {
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) names.insert(line);
  return names;
}

QuantizeFilter any_of(const std::set<std::string>& names) {
  return [names](const LinearInfo& layer) { return names.contains(layer.name); };
}

// The class of the innermost block around a layer; "" for none.
std::string block_class(const Graph& graph, const std::string& layer) {
  for (size_t end = layer.size(); end != std::string::npos && end > 0; end = layer.rfind('.', end - 1))
    if (const auto found = graph.block_classes.find(layer.substr(0, end)); found != graph.block_classes.end()) return found->second;
  return "";
}

Graph typical_graph(const Model& model) { return model.component().typical_graph(); }

// As the model is compiled, or will be with the process's defaults.
CompileOptions options_of(const Model& model) {
  const CompileOptions& options = model.component().options();
  return options.mode == CompileMode::off ? CompileOptions{.mode = CompileMode::default_} : options;
}

std::vector<std::string> quantize_model(Model& model, Quantization kind, const QuantizeFilter& filter) {
  const LayerQuantization layers = choose_layers(typical_graph(model), options_of(model), kind, filter);
  model.component().quantize(layers);
  std::vector<std::string> names;
  for (const auto& [name, chosen] : layers) names.push_back(name);
  return names;
}

}  // namespace

std::vector<LinearLayer> linear_layers(Graph graph, const CompileOptions& options) {
  if (runs_pass("conv_1x1_as_mm", options)) conv_1x1_as_mm(graph);
  std::vector<LinearLayer> layers;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::linear) continue;
    const Node *matrix = &graph[node.inputs[1]], *weight = matrix->op == Op::reshape ? &graph[matrix->inputs[0]] : matrix;
    if (weight->op != Op::weight) continue;
    const Shape &x = graph[node.inputs[0]].shape, &w = matrix->shape;
    layers.push_back({{node.scope, w[1], w[0], block_class(graph, node.scope)}, numel(x) / w[1], weight->attrs.text("name"), weight->dtype});
  }
  return layers;
}

LayerQuantization choose_layers(const Graph& graph, const CompileOptions& options, Quantization kind, const QuantizeFilter& filter) {
  if (!open_device()->target().int8_products) throw UserError("quantised layers need AVX2 and FMA, which this CPU lacks: run without quantisation");
  LayerQuantization chosen;
  int64_t count = 0;
  for (const LinearLayer& layer : linear_layers(graph, options)) {
    ++count;
    const DType storage = stored_dtype(kind);
    if ((!is_narrow(layer.stored) || layer.stored == storage) && filter(layer.info)) chosen[layer.info.name] = kind;
  }
  if (chosen.empty()) warn("the quantisation filter matches none of the ", count, " linear layers: nothing is quantised");
  info(quantization_name(kind), ": ", chosen.size(), " of ", count, " linear layers");
  return chosen;
}

QuantizeFilter measured_filter(const Graph& graph, const CompileOptions& options, const WeightStack* weights, DType dtype, Quantization kind,
                               const ComponentCache* cache) {
  if (!open_device()->target().int8_products) return quantize_all;  // choose_layers refuses
  const std::vector<LinearLayer> layers = linear_layers(graph, options);
  const std::string key = cat(quantization_name(kind), " layers of ", dtype_name(dtype), " activations, of ", hash_text(text_of(layers)));
  if (const auto kept = cache ? cache->measured(key) : std::nullopt) {
    info(key, ": as an earlier start measured them");
    return any_of(names_in(*kept));
  }
  std::map<std::tuple<int64_t, int64_t, int64_t>, Seconds> timed;
  std::set<std::string> chosen;
  for (const LinearLayer& layer : layers) {
    const auto& [name, in, out, where] = layer.info;
    bool faster = true;
    if (multiplies_int8(kind)) {
      const auto [slot, is_new] = timed.try_emplace(std::tuple(layer.rows, in, out));
      if (is_new) slot->second = time_products(layer, dtype);
      const Seconds& s = slot->second;
      faster = s.int8 < s.floating;
      if (is_new)
        info("measured ", layer.rows, " rows, ", in, " -> ", out, ": ", dtype_name(dtype), ' ', s.floating * 1e3, " ms, int8 ", s.int8 * 1e3,
             " ms: ", s.floating / s.int8, 'x');
    }
    const WeightInfo* weight = weights ? weights->find_stored(layer.weight) : nullptr;
    const double error = faster && weight ? drift(*weight, kind) : 0;
    if (weight) weights->source().release(layer.weight);
    if (faster && error <= kMaxDrift) chosen.insert(name);
    info(name, " (", in, " -> ", out, "): drift ", error, faster ? "" : ", int8 is not faster", error <= kMaxDrift ? "" : ", too large",
         chosen.contains(name) ? ": int8" : ": stays");
  }
  if (cache) cache->keep_measured(key, text_of(chosen));
  return any_of(chosen);
}

std::vector<std::string> apply_dynamic_quant(Model& model, const QuantizeFilter& filter, Quantization kind) {
  if (!multiplies_int8(kind) && kind != Quantization::float8_dynamic)
    throw UsageError(
        cat("apply_dynamic_quant: kind is ", quantization_name(kind), ": expected int8-dynamic, int8-dynamic-rotated or float8-dynamic"));
  return quantize_model(model, kind, filter);
}

std::vector<std::string> apply_dynamic_quant(Model& model, Quantization kind) {
  if (!multiplies_int8(kind)) return apply_dynamic_quant(model, quantize_all, kind);
  return apply_dynamic_quant(
      model, measured_filter(typical_graph(model), options_of(model), &model.component().weights(), model.dtype(), kind, &model.component().cache()),
      kind);
}

std::vector<std::string> quantize_weight_only(Model& model, DType storage, const QuantizeFilter& filter) {
  if (storage != DType::int8 && storage != DType::float8_e4m3)
    throw UsageError(cat("quantize_weight_only: storage is ", dtype_name(storage), ": expected int8 or float8_e4m3"));
  return quantize_model(model, storage == DType::int8 ? Quantization::int8_weight_only : Quantization::float8_weight_only, filter);
}

}  // namespace vivace
