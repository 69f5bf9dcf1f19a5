#include "video/metadata.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::string lines(const TextChunks& text) {
  std::string all;
  for (const auto& [keyword, value] : text) all += cat(all.empty() ? "" : "\n", keyword, ": ", value);
  return all;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

void put32(uint8_t* to, size_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<uint8_t>(value >> 8 * i);
}

}  // namespace

void add_gif_comment(std::vector<uint8_t>& gif, const TextChunks& text) {
  if (text.empty()) return;
  constexpr uint8_t kTrailer = 0x3b, kExtension = 0x21, kComment = 0xfe;
  if (gif.empty() || gif.back() != kTrailer) throw InternalError("a GIF without its trailer");
  gif.pop_back();
  gif.insert(gif.end(), {kExtension, kComment});
  const std::string all = lines(text);
  for (size_t at = 0; at < all.size(); at += 255) {
    const size_t count = std::min<size_t>(255, all.size() - at);
    gif.push_back(static_cast<uint8_t>(count));
    gif.insert(gif.end(), all.begin() + static_cast<ptrdiff_t>(at), all.begin() + static_cast<ptrdiff_t>(at + count));
  }
  gif.insert(gif.end(), {0, kTrailer});
}

void add_webp_xmp(std::vector<uint8_t>& webp, const TextChunks& text) {
  if (text.empty()) return;
  constexpr size_t kFlags = 20;
  constexpr uint8_t kHasXmp = 0x04;
  if (webp.size() < 30 || std::memcmp(webp.data() + 12, "VP8X", 4) != 0) throw InternalError("an animated WebP without VP8X");
  const std::string xmp =
      cat(R"(<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">)",
          R"(<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt><rdf:li xml:lang="x-default">)",
          escaped(lines(text)), "</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>");
  webp[kFlags] |= kHasXmp;
  const size_t at = webp.size();
  webp.resize(at + 8);
  std::memcpy(webp.data() + at, "XMP ", 4);
  put32(webp.data() + at + 4, xmp.size());
  webp.insert(webp.end(), xmp.begin(), xmp.end());
  if (xmp.size() % 2 != 0) webp.push_back(0);
  put32(webp.data() + 4, webp.size() - 8);
}

}  // namespace vivace
