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
      if (!tensor) fail_without(any->name, suffix);
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
  [[noreturn]] void fail_without(const std::string& found, std::string_view suffix) const {
    throw UserError(cat(file_->weights().name(), ": there is \"", found, "\" without \"", base_, suffix, '"'));
  }

 private:
  const std::shared_ptr<const WeightOrigins>& file_;
  const std::string& base_;
};

bool is_core(const StoredTensor& t, int64_t rows, int64_t columns) {
  const Shape& shape = t.info.shape;
  return shape.size() > 2 && shape[0] == rows && shape[1] == columns;
}
int64_t window_of(const StoredTensor& core) { return numel(core.info.shape) / (core.info.shape[0] * core.info.shape[1]); }

int64_t rows_of(const StoredTensor& t) { return t.info.shape[0]; }
int64_t columns_of(const StoredTensor& t) { return numel(t.info.shape) / t.info.shape[0]; }

// [rows, columns], float32
Value matrix(Builder& b, const StoredTensor& tensor, Value node) {
  const Value x = b.cast(node, DType::float32);
  return tensor.info.shape.size() == 2 ? x : b.reshape(x, {rows_of(tensor), columns_of(tensor)});
}

Value turned(Builder& b, Value matrix) { return b.transpose(matrix, {1, 0}); }
Value product(Builder& b, Value left, Value right) { return b.emit(Op::linear, {left, turned(b, right)}); }

// left T right, [rows, in * window]; `core`: T [p, q * window].
Value product(Builder& b, Value left, Value core, Value right, const StoredTensor& stored) {
  const int64_t p = stored.info.shape[0], q = stored.info.shape[1], window = window_of(stored), in = b.shape(right)[1];
  const Value apart = b.reshape(turned(b, b.reshape(core, {p * q, window})), {window * p, q});
  const Value columns = turned(b, b.reshape(product(b, apart, right), {window, p * in}));
  return product(b, left, b.reshape(columns, {p, in * window}));
}

// Each takes the factors of its kind where they are there, and says whether they fit each other.
bool take_lora(const Finder& finder, LoraDelta& delta, bool& fits) {
  const auto& f = delta.factors;
  for (const auto& [up, down] : kPairs) {
    if (!finder.take(delta, {up, down})) continue;
    delta.rank = rows_of(f[1]);
    delta.rows = rows_of(f[0]);
    delta.columns = columns_of(f[1]);
    fits = columns_of(f[0]) == delta.rank;
    if (!finder.take(delta, {".lora_mid.weight"})) return true;
    delta.cores = 1;
    delta.columns *= window_of(f[2]);
    fits = is_core(f[2], columns_of(f[0]), delta.rank);
    return true;
  }
  return false;
}

bool take_loha(const Finder& finder, LoraDelta& delta, bool& fits) {
  if (!finder.take(delta, {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b"})) return false;
  const auto& f = delta.factors;
  delta.kind = LoraDelta::Kind::loha;
  delta.rank = rows_of(f[1]);
  delta.columns = columns_of(f[1]);
  if (finder.take(delta, {".hada_t1", ".hada_t2"})) {
    delta.cores = 2;
    delta.rows = columns_of(f[0]);
    fits = is_core(f[4], rows_of(f[0]), rows_of(f[1])) && is_core(f[5], rows_of(f[2]), rows_of(f[3])) && columns_of(f[2]) == delta.rows &&
           columns_of(f[3]) == delta.columns && window_of(f[4]) == window_of(f[5]);
    delta.columns *= window_of(f[4]);
    return true;
  }
  delta.rows = rows_of(f[0]);
  fits = columns_of(f[0]) == delta.rank && rows_of(f[2]) == delta.rows && columns_of(f[2]) == rows_of(f[3]) && columns_of(f[3]) == delta.columns;
  return true;
}

bool take_lokr(const Finder& finder, LoraDelta& delta, bool& fits) {
  if (!finder.take(delta, {".lokr_w1"}) && !finder.take(delta, {".lokr_w1_a", ".lokr_w1_b"})) return false;
  const auto& f = delta.factors;
  delta.kind = LoraDelta::Kind::lokr;
  delta.first = f.size();
  if (!finder.take(delta, {".lokr_w2"}) && !finder.take(delta, {".lokr_w2_a", ".lokr_w2_b"})) finder.fail_without(f[0].info.name, ".lokr_w2");
  const size_t first = delta.first, behind = f.size() - first;
  if (first == 2) delta.rank = rows_of(f[1]), fits = columns_of(f[0]) == delta.rank;
  int64_t rows = rows_of(f[first]), columns = columns_of(f.back());
  if (behind == 2) {
    delta.rank = rows_of(f[first + 1]);
    if (finder.take(delta, {".lokr_t2"})) {
      delta.cores = 1;
      rows = columns_of(f[first]);
      columns *= window_of(f.back());
      fits = fits && is_core(f.back(), rows_of(f[first]), delta.rank);
    } else {
      fits = fits && columns_of(f[first]) == delta.rank;
    }
  }
  delta.rows = rows_of(f[0]) * rows;
  delta.columns = columns_of(f[first - 1]) * columns;
  return true;
}

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
  bool fits = true;
  if (!take_lora(finder, delta, fits) && !take_loha(finder, delta, fits) && !take_lokr(finder, delta, fits)) return std::nullopt;
  if (!fits) throw UserError(cat(file->weights().name(), ": ", factors_text(delta), " do not fit each other"));
  return delta;
}

Value build_delta(Builder& b, const LoraDelta& delta, std::span<const Value> factors, Value strength, int64_t begin, int64_t end) {
  std::vector<Value> m;
  for (size_t i = 0; i < factors.size(); ++i) m.push_back(matrix(b, delta.factors[i], factors[i]));
  const auto part = [&](Value x) { return begin == 0 && end == delta.rows ? x : b.slice(x, 0, begin, end); };
  // The product of two of them, with the core behind all factors where there is one, as A [o, p] and B.
  const size_t plain = m.size() - delta.cores;
  const auto multiplied = [&](Value left, size_t right, size_t core) {
    return delta.cores == 0 ? product(b, left, m[right]) : product(b, left, m[plain + core], m[right], delta.factors[plain + core]);
  };
  const auto left_of = [&](size_t i) { return part(delta.cores == 0 ? m[i] : turned(b, m[i])); };
  // The strength goes where there is least to multiply.
  switch (delta.kind) {
    case LoraDelta::Kind::lora:
      return multiplied(b.mul(part(m[0]), strength), 1, 0);
    case LoraDelta::Kind::loha:
      return b.mul(multiplied(b.mul(left_of(0), strength), 1, 0), multiplied(left_of(2), 3, 1));
    case LoraDelta::Kind::lokr: {
      const Value c = b.mul(delta.first == 1 ? m[0] : product(b, m[0], m[1]), strength);
      const Value d =
          plain - delta.first == 1 ? m[delta.first] : multiplied(delta.cores == 0 ? m[delta.first] : turned(b, m[delta.first]), delta.first + 1, 0);
      const Shape outer = b.shape(c), inner = b.shape(d);
      const Value spread = b.mul(b.reshape(c, {outer[0], 1, outer[1], 1}), b.reshape(d, {1, inner[0], 1, inner[1]}));
      return part(b.reshape(spread, {delta.rows, delta.columns}));
    }
  }
  throw InternalError("a kind of adapter without ops");
}

}  // namespace vivace
