#include "tensor/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/file_kind.h"
#include "base/file_map.h"
#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 10000;  // NumPy's own limit
constexpr size_t kMaxRank = 32;

// What stands behind "'key':" in the header, a Python dict as NumPy writes it; empty where there is none.
std::string_view field(std::string_view dict, std::string_view key) {
  const std::string quoted = cat("'", key, "':");
  const size_t at = dict.find(quoted);
  if (at == std::string_view::npos) return {};
  std::string_view rest = dict.substr(at + quoted.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest;
}

// "(2, 4, 16)", "(3,)", "()".
std::optional<Shape> parse_shape(std::string_view text) {
  if (!text.starts_with('(')) return std::nullopt;
  const size_t end = text.find(')');
  if (end == std::string_view::npos) return std::nullopt;
  Shape shape;
  for (text = text.substr(1, end - 1); !text.empty();) {
    int64_t size = 0;
    const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (error != std::errc() || size < 0 || shape.size() == kMaxRank) return std::nullopt;
    shape.push_back(size);
    text.remove_prefix(static_cast<size_t>(after - text.data()));
    const size_t separator = text.find_first_not_of(", ");
    if (separator == 0) return std::nullopt;
    text.remove_prefix(std::min(separator, text.size()));
  }
  return shape;
}

// The bytes that values of `shape` take in `file`, which has no more of them than fit a size_t; none where it has fewer.
bool has_size(const Shape& shape, size_t width, size_t bytes) {
  size_t left = bytes;
  if (std::ranges::find(shape, 0) != shape.end()) return bytes == 0;
  for (const int64_t n : shape) {
    if (static_cast<size_t>(n) > left) return false;
    left /= static_cast<size_t>(n);
  }
  return static_cast<size_t>(numel(shape)) * width == bytes;
}

}  // namespace

std::string npy_header(const Shape& shape) {
  constexpr size_t kPreamble = 10;  // magic, version, length of the rest
  std::string sizes;
  for (int64_t n : shape) sizes += cat(sizes.empty() ? "" : " ", n, ",");
  if (shape.size() > 1) sizes.pop_back();
  std::string dict = cat("{'descr': '<f4', 'fortran_order': False, 'shape': (", sizes, "), }");
  dict.resize((kPreamble + dict.size() + 1 + 63) / 64 * 64 - kPreamble - 1, ' ');
  dict += '\n';
  std::string header = cat(kMagic, std::string_view("\x01\x00", 2));
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

void save_npy(const std::filesystem::path& path, const Tensor& values) {
  FileWriter file(path);
  file.write(npy_header(values.shape()));
  file.write(std::as_bytes(values.floats()));
  file.commit();
}

Tensor load_npy(const std::filesystem::path& path) {
  const auto map = FileMap::open(path);
  const std::string_view file(reinterpret_cast<const char*>(map->data()), map->size());
  const auto fail = [&](const auto&... what) { throw UserError(cat(path.string(), ": ", what...)); };
  if (!file.starts_with(kMagic) || file.size() < 12) fail("not a .npy file", file_kind_note(file.substr(0, 64)));
  const int version = file[6];
  if (version < 1 || version > 3) fail("version ", version, " of .npy: expected 1, 2 or 3");
  const size_t length_bytes = version == 1 ? 2 : 4, begin = 8 + length_bytes;
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) length |= static_cast<size_t>(static_cast<unsigned char>(file[8 + i])) << 8 * i;
  if (length > kMaxHeader || length > file.size() - begin) fail("a header of ", length, " bytes is longer than the file, or than ", kMaxHeader);

  const std::string_view dict = file.substr(begin, length);
  const std::string_view descr = field(dict, "descr").substr(0, 5);
  const size_t width = descr == "'<f2'" ? 2 : descr == "'<f4'" ? 4 : descr == "'<f8'" ? 8 : 0;
  if (width == 0) fail("its values are not float16, float32 or float64 (descr ", descr, "): convert them with array.astype(\"float32\")");
  if (!field(dict, "fortran_order").starts_with("False")) fail("its values lie column by column: save numpy.ascontiguousarray(array)");
  const std::optional<Shape> shape = parse_shape(field(dict, "shape"));
  if (!shape) fail("the header has no shape: ", in_quotes(dict));
  const std::string_view values = file.substr(begin + length);
  if (!has_size(*shape, width, values.size()))
    fail("shape ", to_string(*shape), " of ", width, " bytes each is not the ", values.size(), " bytes that follow the header");

  if (width != 8) {
    Tensor tensor(*shape, width == 4 ? float32 : float16);
    std::memcpy(tensor.data(), values.data(), values.size());
    return tensor.to(float32);
  }
  Tensor tensor(*shape, float32);
  for (size_t i = 0; float& to : tensor.floats()) {
    double value;
    std::memcpy(&value, values.data() + 8 * i++, sizeof value);
    to = static_cast<float>(value);
  }
  return tensor;
}

}  // namespace vivace
