#include "recipes.h"

#include <algorithm>

#include "base/joined.h"
#include "base/log.h"
#include "options.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// huggingface/flux-fast. Its epilogue_fusion=False is left out: it works around what Inductor's epilogues cost on a GPU, and ours cost nothing. What
// each part does to pictures: docs/PERFORMANCE.md.
constexpr RecipePart kFluxFast[] = {
    {"--dtype bf16", "torch_dtype=torch.bfloat16", [](CompileFlags&, std::string& dtype) { dtype = "bf16"; }},
    {"--compile max-autotune", "torch.compile(mode=\"max-autotune\") of the transformer and of vae.decode",
     [](CompileFlags& flags, std::string&) { flags.modes = {"max-autotune"}; }},
    {"--fullgraph", "fullgraph=True", [](CompileFlags& flags, std::string&) { flags.fullgraph = true; }},
    {"--fuse-qkv", "fuse_qkv_projections() of the transformer and of the VAE", [](CompileFlags& flags, std::string&) { flags.fuse_qkv = true; }},
    {"--quantize float8-dynamic", "float8_dynamic_activation_float8_weight",
     [](CompileFlags& flags, std::string&) { flags.quantize = "float8-dynamic"; }, RecipePart::On::float8},
    {"--quantize int8-dynamic", "float8_dynamic_activation_float8_weight: products of 8 bits, weights and activations scaled",
     [](CompileFlags& flags, std::string&) { flags.quantize = "int8-dynamic"; }, RecipePart::On::others},
    {"--quantize-filter transformer_quant_filter_fn", "all linear layers of the transformer's blocks",
     [](CompileFlags& flags, std::string&) { flags.quantize_filter = "transformer_quant_filter_fn"; }},
    {"--sdpa int8,auto", "FlashAttention 3 with queries, keys and values in float8",
     [](CompileFlags& flags, std::string&) { flags.sdpa = "int8,auto"; }},
    {"--compiler-flag conv_1x1_as_mm=true", "inductor.config.conv_1x1_as_mm",
     [](CompileFlags& flags, std::string&) { flags.compiler_flags.emplace_back("conv_1x1_as_mm=true"); }},
    {"--compiler-flag coordinate_descent_tuning=true", "inductor.config.coordinate_descent_tuning",
     [](CompileFlags& flags, std::string&) { flags.compiler_flags.emplace_back("coordinate_descent_tuning=true"); }},
    {"--compiler-flag coordinate_descent_check_all_directions=true", "inductor.config.coordinate_descent_check_all_directions",
     [](CompileFlags& flags, std::string&) { flags.compiler_flags.emplace_back("coordinate_descent_check_all_directions=true"); }},
};

constexpr RunRecipe kRecipes[] = {{"flux-fast", "FLUX in bfloat16 with products of 8 bits, compiled whole", kFluxFast}};

}  // namespace

std::vector<RecipePart> RunRecipe::parts_on(const Target& device) const {
  std::vector<RecipePart> result(parts.begin(), parts.end());
  std::erase_if(result,
                [&](const RecipePart& part) { return part.on == (device.float8_products ? RecipePart::On::others : RecipePart::On::float8); });
  return result;
}

const RunRecipe& find_recipe(const std::string& name) {
  const auto found = std::ranges::find(kRecipes, name, &RunRecipe::name);
  if (found == std::end(kRecipes))
    throw UsageError(cat("--recipe is \"", name, "\": expected ", joined(kRecipes, ", ", [](const RunRecipe& recipe) { return recipe.name; })));
  return *found;
}

bool is_part_of_recipe(std::string_view option) {
  return std::ranges::any_of(kRecipes, [&](const RunRecipe& recipe) {
    return std::ranges::any_of(recipe.parts, [&](const RecipePart& part) { return part.option.substr(0, part.option.find(' ')) == option; });
  });
}

void apply_recipe(const std::string& name, const Target& device, CompileFlags& flags, std::string& dtype) {
  for (const RecipePart& part : find_recipe(name).parts_on(device)) part.apply(flags, dtype);
}

}  // namespace vivace::cli
