// Linked into every test program: no cache but the one that a test makes, and never the user's. Programs that a test starts inherit it.
#include <stdlib.h>

namespace {
[[maybe_unused]] const int kOff = ::setenv("VIVACE_CACHE_SIZE", "0", 1);
}  // namespace
