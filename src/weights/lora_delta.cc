#include "weights/lora_delta.h"

#include <array>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct Pair {
  std::string_view up, down;
};
// PEFT, PEFT with its default adapter's name, older Diffusers three times, kohya.
constexpr std::array<Pair, 6> kPairs{{{".lora_B.weight", ".lora_A.weight"},
                                      {".lora_B.default.weight", ".lora_A.default.weight"},
                                      {".lora.up.weight", ".lora.down.weight"},
                                      {".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"},
                                      {".up.weight", ".down.weight"},
                                      {".lora_up.weight", ".lora_down.weight"}}};
// Factors of four axes.
constexpr std::array<std::string_view, 4> kTucker{".lora_mid.weight", ".hada_t1", ".hada_t2", ".lokr_t2"};

class Finder {
 public:
  Finder(const std::shared_ptr<const WeightOrigins>& file, const std::string& base) : file_(file), base_(base) {}

  const WeightInfo* find(std::string_view suffix) const { return file_->weights().find(cat(base_, suffix)); }
  // Adds all of these where there is one of them.
  bool take(LoraDelta& delta, std::initializer_list<std::string_view> suffixes) const {
    const WeightInfo* any = nullptr;
    for (const std::string_view suffix : suffixes)
      if (!any) any = find(suffix);
    if (!any) return false;
    for (const std::string_view suffix : suffixes) {
      const WeightInfo* tensor = find(suffix);
      if (!tensor) throw UserError(cat(file_->weights().name(), ": there is \"", any->name, "\" without \"", base_, suffix, '"'));
      if (!is_floating(tensor->dtype))
        throw UserError(cat(file_->weights().name(), ": tensor \"", tensor->name, "\" is ", dtype_name(tensor->dtype), ": expected floats"));
      if (numel(tensor->shape) == 0 || tensor->shape.size() < 2)
        throw UserError(cat(file_->weights().name(), ": tensor \"", tensor->name, "\" is ", to_string(tensor->shape),
                            ": expected a matrix with a rank of 1 or more"));
      delta.factors.push_back(stored(file_, *tensor));
      delta.factors.back().replaceable = true;
    }
    return true;
  }

 private:
  const std::shared_ptr<const WeightOrigins>& file_;
  const std::string& base_;
};

int64_t rows_of(const StoredTensor& t) { return t.info.shape[0]; }
int64_t columns_of(const StoredTensor& t) { return numel(t.info.shape) / t.info.shape[0]; }

// [rows, columns], float32
Value matrix(Builder& b, const StoredTensor& tensor, Value node) {
  const Value x = b.cast(node, DType::float32);
  return tensor.info.shape.size() == 2 ? x : b.reshape(x, {rows_of(tensor), columns_of(tensor)});
}

Value product(Builder& b, Value left, Value right) { return b.emit(Op::linear, {left, b.transpose(right, {1, 0})}); }

}  // namespace

std::string factors_text(const LoraDelta& delta) {
  std::string text;
  for (size_t i = 0; i < delta.factors.size(); ++i) {
    const WeightInfo& info = delta.factors[i].info;
    text += cat(i == 0 ? "" : i + 1 < delta.factors.size() ? ", " : " and ", '"', info.name, "\" ", to_string(info.shape));
  }
  return text;
}

std::optional<LoraDelta> find_delta(const std::shared_ptr<const WeightOrigins>& file, const std::string& base) {
  const Finder finder(file, base);
  LoraDelta delta;
  const auto& f = delta.factors;
  bool fits = true;
  for (const auto& [up, down] : kPairs) {
    if (!finder.take(delta, {up, down})) continue;
    delta.rank = rows_of(f[1]);
    delta.rows = rows_of(f[0]);
    delta.columns = columns_of(f[1]);
    fits = columns_of(f[0]) == delta.rank;
    break;
  }
  if (f.empty() && finder.take(delta, {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b"})) {
    delta.kind = LoraDelta::Kind::loha;
    delta.rank = rows_of(f[1]);
    delta.rows = rows_of(f[0]);
    delta.columns = columns_of(f[1]);
    fits = columns_of(f[0]) == delta.rank && rows_of(f[2]) == delta.rows && columns_of(f[2]) == rows_of(f[3]) && columns_of(f[3]) == delta.columns;
  }
  if (f.empty() && (finder.take(delta, {".lokr_w1"}) || finder.take(delta, {".lokr_w1_a", ".lokr_w1_b"}))) {
    delta.kind = LoraDelta::Kind::lokr;
    delta.first = f.size();
    if (!finder.take(delta, {".lokr_w2"}) && !finder.take(delta, {".lokr_w2_a", ".lokr_w2_b"}))
      throw UserError(cat(file->weights().name(), ": there is \"", f[0].info.name, "\" without \"", base, ".lokr_w2\""));
    const auto whole = [&](size_t begin, size_t end, int64_t& rows, int64_t& columns) {
      rows = rows_of(f[begin]);
      columns = columns_of(f[end - 1]);
      if (end - begin == 1) return;
      delta.rank = rows_of(f[end - 1]);
      fits = fits && columns_of(f[begin]) == delta.rank;
    };
    int64_t rows = 0, columns = 0;
    whole(0, delta.first, delta.rows, delta.columns);
    whole(delta.first, f.size(), rows, columns);
    delta.rows *= rows;
    delta.columns *= columns;
  }
  if (f.empty()) return std::nullopt;
  for (const std::string_view tucker : kTucker)
    if (const WeightInfo* tensor = finder.find(tucker))
      throw UserError(cat(file->weights().name(), ": tensor \"", tensor->name, "\" is the core of a Tucker decomposition, which is not supported"));
  if (!fits) throw UserError(cat(file->weights().name(), ": ", factors_text(delta), " do not fit each other"));
  return delta;
}

Value build_delta(Builder& b, const LoraDelta& delta, std::span<const Value> factors, Value strength, int64_t begin, int64_t end) {
  std::vector<Value> m;
  for (size_t i = 0; i < factors.size(); ++i) m.push_back(matrix(b, delta.factors[i], factors[i]));
  const auto part = [&](Value x) { return begin == 0 && end == delta.rows ? x : b.slice(x, 0, begin, end); };
  // The strength goes where there is least to multiply.
  switch (delta.kind) {
    case LoraDelta::Kind::lora:
      return product(b, b.mul(part(m[0]), strength), m[1]);
    case LoraDelta::Kind::loha:
      return b.mul(product(b, b.mul(part(m[0]), strength), m[1]), product(b, part(m[2]), m[3]));
    case LoraDelta::Kind::lokr: {
      const Value c = b.mul(delta.first == 1 ? m[0] : product(b, m[0], m[1]), strength);
      const Value d = m.size() - delta.first == 1 ? m.back() : product(b, m[delta.first], m.back());
      const Shape outer = b.shape(c), inner = b.shape(d);
      const Value spread = b.mul(b.reshape(c, {outer[0], 1, outer[1], 1}), b.reshape(d, {1, inner[0], 1, inner[1]}));
      return part(b.reshape(spread, {delta.rows, delta.columns}));
    }
  }
  throw InternalError("a kind of adapter without ops");
}

}  // namespace vivace
