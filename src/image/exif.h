// How a camera held the picture.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "image/decoded.h"

namespace vivace {

// The orientation (1 to 8) that an EXIF block states; 0 for one that states none or is damaged. `tiff` begins with "II" or "MM".
int exif_orientation(std::span<const std::byte> tiff);
// The same of an XMP packet.
int xmp_orientation(std::string_view xmp);

// The picture upright, as PIL's exif_transpose turns it.
Decoded upright(Decoded picture);

}  // namespace vivace
