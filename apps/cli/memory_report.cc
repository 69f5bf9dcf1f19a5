#include "memory_report.h"

#include <optional>

#include "base/log.h"
#include "components/component.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {

std::vector<ComponentFigures> component_figures(DiffusionPipeline& pipe) {
  std::vector<ComponentFigures> result;
  const auto add = [&](Model& model) {
    const Component& c = model.component();
    if (c.seconds_compiling() > 0)
      result.push_back({c.name(), c.seconds_compiling(), c.seconds_resizing(), c.seconds_preparing(), static_cast<int64_t>(c.arena_bytes()),
                        static_cast<int64_t>(c.constant_bytes()), static_cast<int64_t>(c.host_bytes())});
  };
  for (const std::string& name : pipe.models()) add(pipe.model(name));
  return result;
}

std::string memory_table(const std::vector<ComponentFigures>& components) {
  Table table({"component", "compiling", "resizing", "preparing weights", "activations (held)", "weights (held)"});
  double activations = 0, weights = 0, waiting = 0;
  for (const ComponentFigures& c : components) {
    table.add({c.name, fixed(c.seconds_compiling, 3) + " s", fixed(c.seconds_resizing, 3) + " s", fixed(c.seconds_preparing, 3) + " s",
               bytes_text(static_cast<double>(c.arena_bytes)), bytes_text(static_cast<double>(c.constant_bytes))});
    activations += static_cast<double>(c.arena_bytes);
    weights += static_cast<double>(c.constant_bytes);
    waiting += static_cast<double>(c.waiting_bytes);
  }
  return table.text() + cat("at the end ", bytes_text(activations + weights), " (", bytes_text(activations), " activations, ", bytes_text(weights),
                            " weights", waiting > 0 ? cat("; ", bytes_text(waiting), " of weights wait in the host's memory") : "",
                            ") are held, measured peak ", bytes_text(static_cast<double>(peak_resident_bytes())), " resident\n");
}

}  // namespace vivace::cli
