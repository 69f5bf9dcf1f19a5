#include "weights/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxDimensions = 4, kMaxListDepth = 4;
constexpr std::string_view kOriginalShape = "comfy.gguf.orig_shape.";

// ggml's numbers of types.
struct TensorKind {
  uint32_t number;
  DType dtype;
  std::optional<BlockFormat> format;
};
constexpr TensorKind kKinds[] = {
    {0, DType::float32, {}},
    {1, DType::float16, {}},
    {2, DType::uint8, BlockFormat::q4_0},
    {3, DType::uint8, BlockFormat::q4_1},
    {6, DType::uint8, BlockFormat::q5_0},
    {7, DType::uint8, BlockFormat::q5_1},
    {8, DType::uint8, BlockFormat::q8_0},
    {10, DType::uint8, BlockFormat::q2_k},
    {11, DType::uint8, BlockFormat::q3_k},
    {12, DType::uint8, BlockFormat::q4_k},
    {13, DType::uint8, BlockFormat::q5_k},
    {14, DType::uint8, BlockFormat::q6_k},
    {24, DType::int8, {}},
    {26, DType::int32, {}},
    {27, DType::int64, {}},
    {28, DType::float64, {}},
    {30, DType::bfloat16, {}},
};

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kList, kU64, kI64, kF64 };
constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

  [[noreturn]] void bad(const std::string& message) const { throw UserError(cat(name_, ": not a valid GGUF file: ", message)); }

  std::string_view bytes(uint64_t count, std::string_view what) {
    if (count > file_.size() - at_)
      bad(cat(what, " at byte ", at_, " takes ", count, " bytes, but the file ends after ", file_.size() - at_,
              "; it may be truncated: copy or download it again"));
    const std::string_view text(reinterpret_cast<const char*>(file_.data()) + at_, static_cast<size_t>(count));
    at_ += count;
    return text;
  }
  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, bytes(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view string(std::string_view what) { return bytes(number<uint64_t>(what), what); }
  uint64_t at() const { return at_; }

 private:
  std::span<const std::byte> file_;
  const std::string& name_;
  uint64_t at_ = 0;
};

// A name or value from the file, fit for a one-line message.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 80));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return text.size() > 80 ? out + "..." : out;
}

std::string scalar(Reader& in, uint32_t type, std::string_view what) {
  switch (type) {
    case kU8:
      return cat(static_cast<unsigned>(in.number<uint8_t>(what)));
    case kI8:
      return cat(static_cast<int>(in.number<int8_t>(what)));
    case kBool:
      return in.number<uint8_t>(what) ? "true" : "false";
    case kU16:
      return cat(in.number<uint16_t>(what));
    case kI16:
      return cat(in.number<int16_t>(what));
    case kU32:
      return cat(in.number<uint32_t>(what));
    case kI32:
      return cat(in.number<int32_t>(what));
    case kF32:
      return cat(in.number<float>(what));
    case kU64:
      return cat(in.number<uint64_t>(what));
    case kI64:
      return cat(in.number<int64_t>(what));
    case kF64:
      return cat(in.number<double>(what));
    case kString:
      return std::string(in.string(what));
    default:
      in.bad(cat(what, " has type ", type, ", which there is none of"));
  }
}

// Passes over a list; its numbers, where `shape` is given and they are int32.
void list(Reader& in, std::string_view what, uint64_t depth, Shape* shape) {
  const auto type = in.number<uint32_t>(what);
  const auto count = in.number<uint64_t>(what);
  if (type > kF64) in.bad(cat(what, " is a list of type ", type, ", which there is none of"));
  if (type == kString) {
    for (uint64_t i = 0; i < count; ++i) in.string(what);
  } else if (type == kList) {
    if (depth == kMaxListDepth) in.bad(cat(what, " has lists within lists, more than ", kMaxListDepth, " deep"));
    for (uint64_t i = 0; i < count; ++i) list(in, what, depth + 1, nullptr);
  } else if (shape && type == kI32 && count <= kMaxDimensions) {
    for (uint64_t i = 0; i < count; ++i) shape->push_back(in.number<int32_t>(what));
  } else {
    if (count > std::numeric_limits<uint64_t>::max() / kSizes[type]) in.bad(cat(what, " has ", count, " elements"));
    in.bytes(count * kSizes[type], what);
  }
}

// nullopt where they are too many to count, or a size is none.
std::optional<int64_t> elements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return std::nullopt;
  return count;
}

// Bytes of a tensor whose shape's last axis is values; sets the axis to bytes where it is in blocks.
uint64_t stored_bytes(Reader& in, TensorFileHeader::Entry& entry) {
  const std::string what = cat("tensor \"", printable(entry.name), "\": ");
  if (entry.format) {
    const BlockFormatInfo& block = block_format_info(*entry.format);
    if (entry.shape.empty() || entry.shape.back() % block.values != 0)
      in.bad(cat(what, "shape ", to_string(entry.shape), " has no whole blocks of ", block.values, " for ", block.name));
    if (__builtin_mul_overflow(entry.shape.back() / block.values, block.bytes, &entry.shape.back())) in.bad(cat(what, "its shape overflows"));
  }
  int64_t bytes = static_cast<int64_t>(dtype_size(entry.dtype));
  for (const int64_t size : entry.shape)
    if (__builtin_mul_overflow(bytes, size, &bytes)) in.bad(cat(what, "its shape overflows"));
  return static_cast<uint64_t>(bytes);
}

TensorFileHeader::Entry tensor(Reader& in) {
  TensorFileHeader::Entry entry;
  entry.name = in.string("a tensor's name");
  const std::string what = cat("tensor \"", printable(entry.name), "\"");
  const auto dimensions = in.number<uint32_t>(what);
  if (dimensions > kMaxDimensions) in.bad(cat(what, " has ", dimensions, " dimensions: expected at most ", kMaxDimensions));
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto size = in.number<uint64_t>(what);
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) in.bad(cat(what, ": its shape overflows"));
    entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(size));
  }
  const auto number = in.number<uint32_t>(what);
  const auto kind = std::ranges::find(kKinds, number, &TensorKind::number);
  if (kind == std::end(kKinds))
    in.bad(cat(what, " is of ggml's type ", number,
               ", which is not supported: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K or Q6_K"));
  entry.dtype = kind->dtype;
  entry.format = kind->format;
  entry.begin = in.number<uint64_t>(what);
  const uint64_t bytes = stored_bytes(in, entry);
  if (__builtin_add_overflow(entry.begin, bytes, &entry.end)) in.bad(cat(what, ": its place overflows"));
  return entry;
}

void check_places(Reader& in, const TensorFileHeader& header, uint64_t available) {
  uint64_t end = 0;
  for (const auto& entry : header.entries) {
    const std::string what = cat("tensor \"", printable(entry.name), "\"");
    if (entry.begin < end) in.bad(cat(what, " overlaps the tensor before"));
    end = entry.end;
    if (end > available)
      in.bad(cat(what, " ends at byte ", end, " of the data, but only ", available, " are there; it may be truncated: copy or download it again"));
  }
  std::vector<std::string_view> names;
  names.reserve(header.entries.size());
  for (const auto& entry : header.entries) names.push_back(entry.name);
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) in.bad(cat("tensor \"", printable(*twice), "\" is there twice"));
}

}  // namespace

bool is_gguf(std::span<const std::byte> file) { return file.size() >= kMagic.size() && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0; }

TensorFileHeader parse_gguf(std::span<const std::byte> file, const std::string& name) {
  Reader in(file, name);
  if (in.bytes(kMagic.size(), "the magic number") != kMagic) in.bad("it does not begin with \"GGUF\"");
  const auto version = in.number<uint32_t>("the version");
  if (version != 2 && version != 3) in.bad(cat("version ", version, ": expected 2 or 3, little endian"));
  const auto tensors = in.number<uint64_t>("the number of tensors"), values = in.number<uint64_t>("the number of values");
  TensorFileHeader header;
  std::map<std::string, Shape, std::less<>> shapes;
  for (uint64_t i = 0; i < values; ++i) {
    const std::string_view key = in.string("a key");
    const std::string what = cat("the value of \"", printable(key), "\"");
    const auto type = in.number<uint32_t>(what);
    if (type == kList)
      list(in, what, 1, key.starts_with(kOriginalShape) ? &shapes[std::string(key.substr(kOriginalShape.size()))] : nullptr);
    else
      header.metadata.emplace(key, scalar(in, type, what));
  }
  for (uint64_t i = 0; i < tensors; ++i) header.entries.push_back(tensor(in));
  for (auto& entry : header.entries) {
    const auto found = shapes.find(entry.name);
    if (found == shapes.end() || entry.format) continue;
    if (elements(found->second) != elements(entry.shape))
      in.bad(cat("tensor \"", printable(entry.name), "\" is ", to_string(entry.shape), ", its original shape ", to_string(found->second)));
    entry.shape = found->second;
  }
  uint64_t alignment = 32;
  if (const auto found = header.metadata.find("general.alignment"); found != header.metadata.end()) {
    alignment = std::strtoull(found->second.c_str(), nullptr, 10);
    if (alignment == 0 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0) in.bad(cat("general.alignment is ", printable(found->second)));
  }
  header.data_offset = (in.at() + alignment - 1) / alignment * alignment;
  if (header.data_offset > file.size() && tensors > 0) in.bad("it ends before its data; it may be truncated: copy or download it again");
  header.data_offset = std::min<size_t>(header.data_offset, file.size());
  std::ranges::stable_sort(header.entries, {}, &TensorFileHeader::Entry::begin);
  check_places(in, header, file.size() - header.data_offset);
  return header;
}

}  // namespace vivace
