#include "runtime/plan_file.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "base/log.h"
#include "runtime/plan_fields.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr char kMagic[8] = {'V', 'I', 'V', 'A', 'C', 'E', 'P', 'L'};
constexpr size_t kHeaderBytes = 24;
constexpr auto kLastDType = static_cast<uint64_t>(DType::boolean);

class Writer {
 public:
  template <class... Items>
  void operator()(const Items&... items) {
    (put(items), ...);
  }
  std::string take() { return std::move(out_); }

 private:
  void number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }
  // Small numbers of either sign stay short.
  void put(int64_t value) { number((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63)); }
  void put(int32_t value) { put(int64_t{value}); }
  void put(bool value) { number(value); }
  void put(uint8_t value) { number(value); }
  void put(double value) {
    const auto bits = std::bit_cast<uint64_t>(value);
    out_.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
  }
  void put(DType value) { number(static_cast<uint64_t>(value)); }
  void put(Phase value) { number(static_cast<uint64_t>(value)); }
  void put(PlanValue::Where value) { number(static_cast<uint64_t>(value)); }
  void put(Memory value) { number(static_cast<uint64_t>(value)); }
  void put(Op op) { put(std::string(op_name(op))); }
  void put(const std::string& text) {
    const auto [found, added] = texts_.emplace(text, texts_.size());
    number(found->second);
    if (!added) return;
    number(text.size());
    out_ += text;
  }
  void put(const Attrs& attrs) { put(attrs.items()); }
  void put(const Attr& attr) {
    number(attr.index());
    std::visit([this](const auto& value) { put(value); }, attr);
  }
  template <class A, class B>
  void put(const std::pair<A, B>& pair) {
    put(pair.first), put(pair.second);
  }
  template <class T>
  void put(const std::vector<T>& items) {
    number(items.size());
    for (const T& item : items) put(item);
  }
  template <class T>
  auto put(const T& item) -> decltype(fields(*this, item)) {
    fields(*this, item);
  }

  std::string out_;
  std::map<std::string, uint64_t> texts_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  template <class... Items>
  void operator()(Items&... items) {
    (get(items), ...);
  }
  void expect_end() const {
    if (at_ != bytes_.size()) damaged();
  }

 private:
  [[noreturn]] void damaged() const { throw UserError(cat(name_, ": damaged at byte ", kHeaderBytes + at_, ": make it again")); }
  size_t left() const { return bytes_.size() - at_; }

  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left() == 0) damaged();
      const auto byte = static_cast<uint64_t>(bytes_[at_++]);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }
  uint64_t number(uint64_t last) {
    const uint64_t value = number();
    if (value > last) damaged();
    return value;
  }
  void get(int64_t& value) {
    const uint64_t n = number();
    value = static_cast<int64_t>((n >> 1) ^ (~(n & 1) + 1));
  }
  void get(int32_t& value) {
    int64_t wide = 0;
    get(wide);
    value = static_cast<int32_t>(wide);
    if (value != wide) damaged();
  }
  void get(bool& value) { value = number(1); }
  void get(uint8_t& value) { value = static_cast<uint8_t>(number(0xff)); }
  void get(double& value) {
    uint64_t bits = 0;
    if (left() < sizeof(bits)) damaged();
    std::memcpy(&bits, bytes_.data() + at_, sizeof(bits));
    at_ += sizeof(bits);
    value = std::bit_cast<double>(bits);
  }
  void get(DType& value) { value = static_cast<DType>(number(kLastDType)); }
  void get(Phase& value) { value = static_cast<Phase>(number(static_cast<uint64_t>(Phase::step))); }
  void get(PlanValue::Where& value) { value = static_cast<PlanValue::Where>(number(static_cast<uint64_t>(PlanValue::Where::weight))); }
  void get(Memory& value) { value = static_cast<Memory>(number(static_cast<uint64_t>(Memory::host))); }
  void get(Op& value) {
    std::string text;
    get(text);
    const auto found = find_op(text);
    if (!found) throw UserError(cat(name_, ": holds the op \"", text, "\", which this Vivace lacks: make it again"));
    value = *found;
  }
  void get(std::string& text) {
    const uint64_t index = number(texts_.size());
    if (index == texts_.size()) {
      const uint64_t size = number(left());
      if (size > left()) damaged();
      texts_.emplace_back(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
      at_ += size;
      // Names go into one-line messages.
      if (std::ranges::any_of(texts_.back(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) damaged();
    }
    text = texts_[index];
  }
  void get(Attrs& attrs) {
    std::vector<std::pair<std::string, Attr>> items;
    get(items);
    for (auto& [key, value] : items) attrs.set(key, std::move(value));
  }
  void get(Attr& attr) {
    switch (number(3)) {
      case 0:
        return get(attr.emplace<0>());
      case 1:
        return get(attr.emplace<1>());
      case 2:
        return get(attr.emplace<2>());
      default:
        return get(attr.emplace<3>());
    }
  }
  template <class A, class B>
  void get(std::pair<A, B>& pair) {
    get(pair.first), get(pair.second);
  }
  template <class T>
  void get(std::vector<T>& items) {
    const uint64_t size = number();
    // An item takes a byte at least: a damaged length cannot ask for more memory than the file's size stands for.
    if (size > left()) damaged();
    items.resize(size);
    for (T& item : items) get(item);
  }
  template <class T>
  auto get(T& item) -> decltype(fields(*this, item)) {
    fields(*this, item);
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  size_t at_ = 0;
  std::vector<std::string> texts_;
};

}  // namespace

std::string serialize_plan(const Plan& plan) {
  Writer writer;
  writer(plan);
  const std::string body = writer.take();
  std::string out(kHeaderBytes, '\0');
  const uint64_t checksum = XXH3_64bits(body.data(), body.size());
  std::memcpy(out.data(), kMagic, sizeof(kMagic));
  std::memcpy(out.data() + 8, &kPlanFileVersion, sizeof(kPlanFileVersion));
  std::memcpy(out.data() + 16, &checksum, sizeof(checksum));
  return out + body;
}

Plan parse_plan(std::span<const std::byte> bytes, const std::string& name, const Device& device) {
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0) throw UserError(cat(name, ": is no plan of Vivace's"));
  uint32_t version = 0;
  uint64_t checksum = 0;
  std::memcpy(&version, bytes.data() + 8, sizeof(version));
  std::memcpy(&checksum, bytes.data() + 16, sizeof(checksum));
  if (version != kPlanFileVersion)
    throw UserError(cat(name, ": holds a plan of format ", version, ", this Vivace reads ", kPlanFileVersion, ": make it again"));
  const auto body = bytes.subspan(kHeaderBytes);
  if (checksum != XXH3_64bits(body.data(), body.size())) throw UserError(cat(name, ": damaged or cut short (its checksum differs): make it again"));
  Plan plan;
  Reader reader(body, name);
  reader(plan);
  reader.expect_end();
  check_plan(plan, name, device);
  return plan;
}

}  // namespace vivace
