// The program of a fused elementwise chain as text, one instruction after another, separated by ';':
//   "t0=add i0 i1;t1=silu t0;t2=affine t1 scale=0.5 shift=0;t3=mul t2 i2"
// i<k> are the node's inputs, t<k> the results in order; the last one is the node's value. Every instruction is an elementwise op of the op table.
#pragma once

#include <string>
#include <vector>

#include "ops/builder.h"

namespace vivace {

struct TileInstruction {
  Op op{};
  std::vector<int> args;  // >= 0: result of that instruction; < 0: input ~arg
  Attrs attrs;            // scale, shift, min, max, to
};

class TileText {
 public:
  // Throws InternalError on text that is none: with other attributes or numbers of arguments than the ops have, or a result read before it is there.
  explicit TileText(std::string_view text);
  explicit TileText(std::vector<TileInstruction> instructions) : instructions_(std::move(instructions)) {}

  const std::vector<TileInstruction>& instructions() const { return instructions_; }
  // How many the instructions read: the last of them, that is.
  int64_t inputs() const;
  std::string text() const;
  // The chain as plain ops in float32.
  Value emit(Builder& b, const std::vector<Value>& inputs) const;

 private:
  std::vector<TileInstruction> instructions_;
};

}  // namespace vivace
