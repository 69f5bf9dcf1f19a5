// How large a contact sheet is, known before its pictures are there.
#pragma once

#include <cstdint>

namespace vivace {

struct SheetSize {
  int64_t height = 0, width = 0;
  int64_t across = 0;  // pictures in a row
};

// As contact_sheet() lays out `count` pictures in cells of this size. Throws UsageError for what it refuses.
SheetSize sheet_size(int64_t count, int columns, int padding, int64_t cell_height, int64_t cell_width);

}  // namespace vivace
