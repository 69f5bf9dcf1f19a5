// parse_safetensors: the header through nlohmann's event parser (no tree is built: SDXL's UNet has 1,680 tensors), then the checks.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/file_kind.h"
#include "base/joined.h"
#include "base/json_events.h"
#include "base/log.h"
#include "vivace/error.h"
#include "weights/safetensors.h"
#include "weights/safetensors_dtype.h"

namespace vivace {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000;  // the official library's limit
constexpr const char* kTruncated = "it may be truncated: copy or download it again";

static_assert(std::endian::native == std::endian::little, "tensors are mapped as they lie in the file");

[[noreturn]] void bad(const std::string& file, const std::string& message) {
  throw UserError(cat(file, ": not a valid safetensors file: ", message));
}

// A name or value from the file, fit for a one-line message.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 80));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return text.size() > 80 ? out + "..." : out;
}

// Receives the parser's events. `state_` says which value of the header comes next.
class HeaderReader : public json::json_sax_t {
 public:
  HeaderReader(const std::string& file, TensorFileHeader& header) : file_(file), header_(header) {}

  bool key(string_t& name) override {
    switch (state_) {
      case State::header:
        key_ = name;
        if (name == "__metadata__") break;
        header_.entries.emplace_back().name = name;
        has_dtype_ = has_shape_ = has_offsets_ = false;
        break;
      case State::metadata:
        key_ = name;
        break;
      case State::tensor:
        key_ = name;
        break;
      default:
        break;
    }
    return true;
  }

  bool start_object(size_t) override {
    switch (state_) {
      case State::start:
        state_ = State::header;
        break;
      case State::header:
        state_ = key_ == "__metadata__" ? State::metadata : State::tensor;
        if (state_ == State::metadata && std::exchange(has_metadata_, true)) bad(file_, "\"__metadata__\" is there twice");
        break;
      default:
        skip("an object");
        break;
    }
    return true;
  }

  bool end_object() override {
    switch (state_) {
      case State::skipped:
        unskip();
        break;
      case State::tensor:
        if (!has_dtype_ || !has_shape_ || !has_offsets_)
          tensor_error(cat("\"", !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets", "\" is missing"));
        state_ = State::header;
        break;
      case State::metadata:
        state_ = State::header;
        break;
      default:
        break;
    }
    return true;
  }

  bool start_array(size_t) override {
    if (state_ == State::tensor && key_ == "shape") {
      once(has_shape_);
      state_ = State::shape;
    } else if (state_ == State::tensor && key_ == "data_offsets") {
      once(has_offsets_);
      offsets_ = 0;
      state_ = State::offsets;
    } else {
      skip("a list");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::skipped) {
      unskip();
      return true;
    }
    if (state_ == State::offsets && offsets_ != 2) tensor_error("\"data_offsets\": expected two integers");
    state_ = State::tensor;
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::tensor && key_ == "dtype") {
      once(has_dtype_);
      set_dtype(value);
    } else if (state_ == State::metadata) {
      if (!header_.metadata.emplace(key_, std::move(value)).second) bad(file_, cat("the metadata \"", shown(key_), "\" is there twice"));
    } else {
      scalar("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::shape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) tensor_error("\"shape\" overflows");
      entry().shape.push_back(static_cast<int64_t>(value));
    } else if (state_ == State::offsets) {
      if (offsets_ < 2) (offsets_ == 0 ? entry().begin : entry().end) = value;
      ++offsets_;
    } else {
      scalar("a number");
    }
    return true;
  }
  bool number_integer(number_integer_t value) override { return scalar(cat("the number ", value)); }
  bool number_float(number_float_t, const string_t& text) override { return scalar(cat("the number ", shown(text))); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool null() override {
    // A writer without metadata may say so.
    return state_ == State::header && key_ == "__metadata__" ? true : scalar("null");
  }
  bool binary(binary_t&) override { return scalar("binary data"); }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    bad(file_, cat("the header is not valid JSON at byte ", kLengthBytes + position, "; ", kTruncated));
  }

 private:
  enum class State { start, header, tensor, shape, offsets, metadata, skipped };

  TensorFileHeader::Entry& entry() { return header_.entries.back(); }

  [[noreturn]] void tensor_error(const std::string& message) { bad(file_, cat("tensor \"", shown(entry().name), "\": ", message)); }

  void once(bool& seen) {
    if (std::exchange(seen, true)) tensor_error(cat("\"", key_, "\" is there twice"));
  }

  void set_dtype(const std::string& value) {
    for (const SafetensorsDType& known : kSafetensorsDTypes)
      if (value == known.name) {
        entry().dtype = known.dtype;
        return;
      }
    if (value == "F8_E5M2") {  // a type of files alone
      entry().dtype = DType::uint8;
      entry().format = BlockFormat::float8_e5m2;
      return;
    }
    tensor_error(cat("dtype \"", shown(value), "\" is not supported: expected one of ", joined(kSafetensorsDTypes, ", ", &SafetensorsDType::name)));
  }

  // A value where the format has no such; fields of a tensor that the format does not know are passed over, as the official library does.
  bool scalar(const std::string& found) {
    if (state_ == State::skipped || (state_ == State::tensor && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")) return true;
    unexpected(found);
  }
  void skip(const std::string& found) {
    if (state_ != State::skipped) {
      scalar(found);
      state_ = State::skipped;
    }
    ++depth_;
  }
  void unskip() {
    if (--depth_ == 0) state_ = State::tensor;
  }
  [[noreturn]] void unexpected(const std::string& found) {
    switch (state_) {
      case State::start:
        bad(file_, cat("the header: expected an object, got ", found));
      case State::header:
        bad(file_, cat("\"", shown(key_), "\": expected an object, got ", found));
      case State::metadata:
        bad(file_, cat("the metadata \"", shown(key_), "\": expected a string, got ", found));
      case State::shape:
        tensor_error(cat("\"shape\": expected integers that are not negative, got ", found));
      case State::offsets:
        tensor_error(cat("\"data_offsets\": expected two integers that are not negative, got ", found));
      default:
        tensor_error(cat("\"", key_, "\": expected ", key_ == "dtype" ? "a string" : "a list of integers", ", got ", found));
    }
  }

  const std::string& file_;
  TensorFileHeader& header_;
  State state_ = State::start;
  std::string key_;
  int depth_ = 0;    // of the value being passed over
  int offsets_ = 0;  // read so far
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
};

// Bytes of the tensor, or nothing when they overflow 64 bits.
bool tensor_bytes(const TensorFileHeader::Entry& entry, uint64_t& bytes) {
  int64_t elements = 1, total = 0;
  for (int64_t size : entry.shape)
    if (__builtin_mul_overflow(elements, size, &elements)) return false;
  if (__builtin_mul_overflow(elements, static_cast<int64_t>(dtype_size(entry.dtype)), &total)) return false;
  bytes = static_cast<uint64_t>(total);
  return true;
}

void check_entries(const TensorFileHeader& header, uint64_t available, const std::string& file) {
  uint64_t position = 0;
  for (const auto& entry : header.entries) {
    const auto fail = [&](const std::string& message) { bad(file, cat("tensor \"", shown(entry.name), "\": ", message)); };
    const std::string range = cat("[", entry.begin, ", ", entry.end, ")");
    uint64_t bytes = 0;
    if (!tensor_bytes(entry, bytes)) fail("\"shape\" overflows");
    if (entry.end < entry.begin) fail(cat("\"data_offsets\" ", range, " run backwards"));
    if (entry.end - entry.begin != bytes)
      fail(cat("\"data_offsets\" ", range, " hold ", entry.end - entry.begin, " bytes, but ", dtype_name(entry.dtype), " ", to_string(entry.shape),
               " takes ", bytes));
    if (entry.begin < position) fail(cat("\"data_offsets\" ", range, " overlap the tensor before"));
    if (entry.begin > position) fail(cat("\"data_offsets\" ", range, " leave a hole: expected to begin at ", position));
    position = entry.end;
  }
  if (position > available) bad(file, cat("its tensors take ", position, " bytes, but only ", available, " are there; ", kTruncated));
  if (position < available) bad(file, cat(available - position, " bytes follow the last tensor"));
}

void check_names(const TensorFileHeader& header, const std::string& file) {
  std::vector<std::string_view> names;
  names.reserve(header.entries.size());
  for (const auto& entry : header.entries) names.push_back(entry.name);
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) bad(file, cat("tensor \"", shown(*twice), "\" is there twice"));
}

bool is_text(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](unsigned char c) { return (c >= ' ' && c < 0x7f) || c == '\n' || c == '\r' || c == '\t'; });
}

}  // namespace

TensorFileHeader parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  // A length that is none, or no header behind it: perhaps another kind of file altogether.
  const auto other_kind = [&](const std::string& message) {
    const std::string kind = file_kind_note(text.substr(0, 64));
    // With a length that is none it still looks like one.
    if (!kind.empty() && kind.find("safetensors") == std::string::npos) throw UserError(cat(name, ": not a safetensors file", kind));
    if (is_text(text.substr(0, kLengthBytes))) throw UserError(cat(name, ": neither a safetensors nor a GGUF file: it begins as a text does"));
    bad(name, message);
  };
  if (file.size() < kLengthBytes) bad(name, cat("it has ", file.size(), " bytes, too few for a header; ", kTruncated));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeader) other_kind(cat("its header would take ", length, " bytes: at most ", kMaxHeader, " are allowed"));
  if (length > file.size() - kLengthBytes)
    other_kind(cat("its header takes ", length, " bytes, but the file has only ", file.size(), "; ", kTruncated));
  const std::string_view source = text.substr(kLengthBytes, length);
  if (!source.starts_with('{')) other_kind("the header does not begin with \"{\"");

  TensorFileHeader header;
  header.data_offset = kLengthBytes + length;
  HeaderReader reader(name, header);
  read_json_events(source, reader);
  std::ranges::sort(header.entries, [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  check_names(header, name);
  check_entries(header, file.size() - header.data_offset, name);
  return header;
}

}  // namespace vivace
