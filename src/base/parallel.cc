#include "base/parallel.h"

namespace vivace {
namespace {
int default_threads() {
  static const int n = std::max(1, omp_get_max_threads());
  return n;
}
int g_threads = 0;
}  // namespace

int num_threads() { return g_threads > 0 ? g_threads : default_threads(); }

void set_num_threads(int n) {
  default_threads();
  g_threads = n > 0 ? n : 0;
  omp_set_num_threads(num_threads());
}

}  // namespace vivace
