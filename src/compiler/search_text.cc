#include "compiler/search_text.h"

#include <iomanip>
#include <locale>
#include <sstream>

namespace vivace {

std::string search_text(const Plan& plan) {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << std::fixed << std::setprecision(2);
  double once = 0, each = 0;
  for (const PlanRegion& r : plan.regions) {
    text << "region " << r.scope << ": " << r.nodes << " nodes, compiled once for " << r.occurrences << " occurrences in " << r.seconds * 1e3
         << " ms\n";
    once += r.seconds;
    each += r.seconds * r.occurrences;
  }
  if (once > 0)
    text << "passes of the regions: " << once * 1e3 << " ms; for every occurrence " << each * 1e3 << " ms, " << each / once << " times as much\n";
  const PlanAutotuning& a = plan.autotuning;
  if (a.calls == 0) return text.str();
  text << "autotuning: " << a.calls << " calls, " << a.different_calls << " different, " << a.timed << " of them timed\n";
  if (a.settings > 0)
    text << "timed once a kind: " << a.settings << " kernels with parameters, " << a.seconds << " s; for every call " << a.settings_each_call << ", "
         << a.seconds_each_call << " s, " << static_cast<double>(a.settings_each_call) / a.settings << " times as many\n";
  return text.str();
}

}  // namespace vivace
