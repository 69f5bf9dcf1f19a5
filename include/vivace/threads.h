// The one pool of threads that everything runs on.
#pragma once

#include "vivace/api.h"

namespace vivace VIVACE_API {

// Threads used by every kernel. Default: the cores this process may run on.
int num_threads();
// n < 1 restores the default.
void set_num_threads(int n);

// Binds thread i of the pool to the i-th core that this process may run on, round again where there are more threads than cores. For machines with
// several groups of cores or sockets, where a thread that moves leaves its caches behind; beside other busy processes it hurts, since a thread then
// waits for its core while another is free. After set_num_threads.
void pin_threads();

}  // namespace VIVACE_API
