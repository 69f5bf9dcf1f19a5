#include "ir/attrs.h"

#include <algorithm>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {
template <class T>
const T& typed(const Attr& attr, std::string_view key) {
  if (const T* value = std::get_if<T>(&attr)) return *value;
  throw InternalError(cat("attribute ", key, " has another type"));
}
}  // namespace

void Attrs::set(std::string_view key, Attr value) {
  const auto at = std::ranges::lower_bound(items_, key, {}, [](const auto& item) -> std::string_view { return item.first; });
  if (at != items_.end() && at->first == key)
    at->second = std::move(value);
  else
    items_.insert(at, {std::string(key), std::move(value)});
}

void Attrs::erase(std::string_view key) {
  std::erase_if(items_, [&](const auto& item) { return item.first == key; });
}

const Attr* Attrs::find(std::string_view key) const {
  for (const auto& item : items_)
    if (item.first == key) return &item.second;
  return nullptr;
}

int64_t Attrs::integer(std::string_view key, int64_t otherwise) const {
  const Attr* attr = find(key);
  return attr ? typed<int64_t>(*attr, key) : otherwise;
}

double Attrs::real(std::string_view key, double otherwise) const {
  const Attr* attr = find(key);
  if (attr && std::holds_alternative<int64_t>(*attr)) return static_cast<double>(std::get<int64_t>(*attr));
  return attr ? typed<double>(*attr, key) : otherwise;
}

const std::string& Attrs::text(std::string_view key) const {
  static const std::string empty;
  const Attr* attr = find(key);
  return attr ? typed<std::string>(*attr, key) : empty;
}

const std::vector<int64_t>& Attrs::integers(std::string_view key) const {
  static const std::vector<int64_t> empty;
  const Attr* attr = find(key);
  return attr ? typed<std::vector<int64_t>>(*attr, key) : empty;
}

}  // namespace vivace
