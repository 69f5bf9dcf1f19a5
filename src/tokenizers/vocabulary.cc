#include "tokenizers/vocabulary.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

namespace vivace {
namespace {

uint32_t hash_of(std::string_view text) { return static_cast<uint32_t>(XXH3_64bits(text.data(), text.size())); }

}  // namespace

size_t Vocabulary::slot_of(std::string_view text, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  while (slots_[slot].id >= 0 && (slots_[slot].hash != hash || this->text(slots_[slot].id) != text)) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  std::vector<Slot> old(std::max<size_t>(1024, slots_.size() * 4));
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& entry : old) {
    if (entry.id < 0) continue;
    size_t slot = entry.hash & mask;
    while (slots_[slot].id >= 0) slot = (slot + 1) & mask;
    slots_[slot] = entry;
  }
}

Vocabulary::Added Vocabulary::add(std::string_view text, int32_t id) {
  if (static_cast<size_t>(size_) * 2 >= slots_.size()) grow();
  const uint32_t hash = hash_of(text);
  const size_t slot = slot_of(text, hash);
  if (slots_[slot].id >= 0) return Added::text_taken;
  if (contains(id)) return Added::id_taken;
  if (id >= static_cast<int32_t>(spans_.size())) spans_.resize(id + 1);
  spans_[id] = {static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size())};
  texts_ += text;
  slots_[slot] = {hash, id};
  ++size_;
  return Added::yes;
}

int32_t Vocabulary::find(std::string_view text) const { return slots_.empty() ? -1 : slots_[slot_of(text, hash_of(text))].id; }

}  // namespace vivace
