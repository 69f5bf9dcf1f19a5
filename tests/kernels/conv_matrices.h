// The transforms of each way to compute a convolution as matrices, for the tests of what rounds on the way.
#pragma once

#include <string_view>
#include <vector>

namespace vivace::cpu::conv_test {

// In one dimension: V = B d, U = G g, y = A (U * V). `in_step` is how far the next tile's input is.
struct Matrices {
  int in, pos, out, in_step;
  std::vector<double> input, weight, output;  // B [pos][in], G [pos][3], A [out][pos]
};

inline Matrices matrices_of(std::string_view kernel) {
  if (kernel.starts_with("winograd_f4"))
    return {6,
            6,
            4,
            4,
            {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0, 0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1, 0, 0, 4, 0, -5, 0, 1},
            {.25, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12, 1. / 6, 1. / 24, -1. / 12, 1. / 6, 0, 0, 1},
            {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1}};
  if (kernel.starts_with("winograd_f2"))
    return {4, 4, 2, 2, {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1}, {1, 0, 0, .5, .5, .5, .5, -.5, .5, 0, 0, 1}, {1, 1, 1, 0, 0, 1, -1, -1}};
  // On the upsampled image, a tile starts at an odd row: pixels a, b, b, c. The middle ones are read as halves of their sum.
  if (kernel.starts_with("winograd_upsample"))
    return {4, 3, 2, 2, {1, -.5, -.5, 0, 0, .5, .5, 0, 0, .5, .5, -1}, {1, 0, 0, 1, 1, 1, 0, 0, 1}, {1, 1, 0, 0, 1, -1}};
  if (kernel.starts_with("upsample_phases"))
    return {4, 4, 2, 2, {1, 0, 0, 0, 0, .5, .5, 0, 0, .5, .5, 0, 0, 0, 0, 1}, {1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1}, {1, 1, 0, 0, 0, 0, 1, 1}};
  return {3, 3, 1, 1, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 1, 1}};
}

}  // namespace vivace::cpu::conv_test
