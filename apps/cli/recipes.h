// Recipes: what others found to belong together, as one switch. Each part is an option of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/target.h"

namespace vivace::cli {

struct CompileFlags;

struct RecipePart {
  enum class On : uint8_t { all, float8, others };  // devices: those that multiply float8, those that do not

  std::string_view option;      // as it would be given: "--compile max-autotune"
  std::string_view stands_for;  // in the recipe as it was published
  void (*apply)(CompileFlags& flags, std::string& dtype);
  On on = On::all;
};

struct RunRecipe {
  std::string_view name, what;
  std::span<const RecipePart> parts;

  std::vector<RecipePart> parts_on(const Target& device) const;
};

// Throws UsageError for an unknown name.
const RunRecipe& find_recipe(const std::string& name);
// Whether some recipe says what this option does.
bool is_part_of_recipe(std::string_view option);
// All of its parts for that device.
void apply_recipe(const std::string& name, const Target& device, CompileFlags& flags, std::string& dtype);

}  // namespace vivace::cli
