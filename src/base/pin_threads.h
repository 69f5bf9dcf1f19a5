// Threads that stay on their cores.
#pragma once

namespace vivace {

// Binds thread i of the pool (base/parallel.h) to the i-th core that this process may run on, round again where there are more threads than cores.
// For machines with several groups of cores or sockets, where a thread that moves leaves its caches behind; beside other busy processes it hurts,
// since a thread then waits for its core while another is free. After set_num_threads.
void pin_threads();

}  // namespace vivace
