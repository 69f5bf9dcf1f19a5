#include "base/file_kind.h"

#include <algorithm>
#include <cctype>

namespace vivace {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view bytes, kind;
};
constexpr Magic kMagics[] = {
    {"version https://git-lfs"sv, "a Git LFS pointer (git lfs pull fetches the file)"sv},
    {"\x89PNG"sv, "a PNG picture"sv},
    {"\xff\xd8\xff"sv, "a JPEG picture"sv},
    {"GIF8"sv, "a GIF picture"sv},
    {"RIFF"sv, "a RIFF file, such as a WebP picture"sv},
    {"GGUF"sv, "a GGUF file"sv},
    {"PK\x03\x04"sv, "a ZIP archive, as PyTorch's checkpoints are (convert it to safetensors)"sv},
    {"\x80\x02"sv, "a pickle, as PyTorch's old checkpoints are (convert it to safetensors)"sv},
    {"\x1f\x8b"sv, "a gzip archive"sv},
    {"\x89HDF"sv, "an HDF5 file"sv},
    {"%PDF"sv, "a PDF document"sv},
};

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() >= word.size() &&
         std::equal(word.begin(), word.end(), text.begin(), [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

}  // namespace

std::string file_kind_note(std::string_view begin) {
  for (const Magic& magic : kMagics)
    if (begin.starts_with(magic.bytes)) return ": it is " + std::string(magic.kind);
  const std::string_view text = begin.substr(std::min(begin.find_first_not_of(" \t\r\n"), begin.size()));
  if (starts_with_word(text, "<!doctype html") || starts_with_word(text, "<html")) return ": it is an HTML page, as a failed download leaves";
  // A safetensors file: the length of a header in 8 bytes, then the header.
  if (begin.size() > 10 && begin.substr(8).starts_with("{\"")) return ": it is a safetensors file";
  return "";
}

}  // namespace vivace
