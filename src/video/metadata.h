// Text in files whose muxers have no place for it.
#pragma once

#include <cstdint>
#include <vector>

#include "vivace/image.h"

namespace vivace {

// A comment behind the frames, "keyword: text" a line.
void add_gif_comment(std::vector<uint8_t>& gif, const TextChunks& text);
// An XMP chunk, whose dc:description says the same. `webp` is an extended file (VP8X), as an animation always is.
void add_webp_xmp(std::vector<uint8_t>& webp, const TextChunks& text);

}  // namespace vivace
