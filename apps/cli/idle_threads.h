// How long OpenMP's threads spin before they sleep. The default of GNU OpenMP, milliseconds at every barrier, is right for a machine that nobody else
// uses: beside another busy process the spinning threads take the cores from those that have work, and a picture takes up to 60 times longer.
#pragma once

namespace vivace::cli {

// GNU OpenMP reads its settings once, before main: unless the user has chosen them, sets them and starts the program again in the same process (5
// ms).
void spin_briefly(char** argv);

}  // namespace vivace::cli
