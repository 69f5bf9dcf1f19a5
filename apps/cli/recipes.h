// Recipes: what others found to belong together, as one switch. Each part is an option of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vivace::cli {

struct CompileFlags;

struct RecipePart {
  std::string_view option;      // as it would be given: "--compile max-autotune"
  std::string_view stands_for;  // in the recipe as it was published
  void (*apply)(CompileFlags& flags, std::string& dtype);
};

struct RunRecipe {
  std::string_view name, what;
  std::span<const RecipePart> parts;
};

// Throws UsageError for an unknown name.
const RunRecipe& find_recipe(const std::string& name);
// Whether some recipe says what this option does.
bool is_part_of_recipe(std::string_view option);
// All of its parts.
void apply_recipe(const std::string& name, CompileFlags& flags, std::string& dtype);

}  // namespace vivace::cli
