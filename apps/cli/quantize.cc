// vivace quantize: a checkpoint whose unet holds 8-bit weights.
#include <cstdio>

#include "base/files.h"
#include "base/log.h"
#include "commands.h"
#include "component_target.h"
#include "components/quantized_checkpoint.h"
#include "interrupt.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct QuantizeFlags : TargetOptions {
  std::string out;
};

int run_quantize(const QuantizeFlags& o, const Common& common) {
  if (is_file(o.model))
    throw UsageError("quantize takes a checkpoint in a folder; the layers of one file are quantised as they are loaded (--quantize)");
  if (parse_quantization(o.compile.quantize) == Quantization::int8_dynamic_rotated)
    throw UsageError("quantize writes int8 rows as they are; rotated ones are made as the model is loaded (--quantize int8-dynamic-rotated)");
  // The layers are chosen as for running the model; what is stored serves any machine, so all of them are the default.
  const ComponentTarget target(o);
  if (target.name() != "unet")
    throw UsageError(cat(o.model, " has a ", target.name(),
                         " and no unet: quantize writes checkpoints with a unet; others are quantised as they are loaded (", "generate --quantize ",
                         o.compile.quantize, ")"));
  if (!target.weights()) throw UserError(cat(o.model, "/unet has no weights (.safetensors): expected a checkpoint"));
  QuantizedCheckpointOptions options{
      .kind = parse_quantization(o.compile.quantize), .layers = target.compile_options().quantize, .variant = o.variant, .on_tensor = nullptr};
  options.on_tensor = [](const std::string& tensor) {
    if (interrupted()) throw Interrupted("stopped");
    info("unet: ", tensor);
  };
  const Uninterrupted writing;
  if (const int code = write_folder(o.out, [&] { write_quantized_checkpoint(o.model, o.out, options); })) return code;
  if (common.json)
    print_json({{"files", {o.out}}, {"layers", options.layers.size()}});
  else if (!common.quiet)
    std::fprintf(stderr, "%s (%zu layers in 8 bits)\n", o.out.c_str(), options.layers.size());
  return 0;
}

}  // namespace

Command add_quantize(Arguments& app, const Common& common) {
  auto o = std::make_shared<QuantizeFlags>();
  Arguments* c = app.add_subcommand("quantize", "Write a checkpoint whose unet holds 8-bit weights");
  c->add_option("model", o->model, "Checkpoint folder in Diffusers layout").required();
  c->add_option("out", o->out, "Folder to write").required();
  c->add_option("--variant", o->variant, "Weight files of this variant, such as fp16");
  o->compile.quantize = "int8-dynamic";
  o->compile.quantize_filter = "all";
  o->compile.add_quantize(*c);
  return {c, [o, &common] { return run_quantize(*o, common); }};
}

}  // namespace vivace::cli
