#include "components/whole_notes.h"

#include "base/log.h"

namespace vivace {
namespace {

std::string note_head(const FileStamp& stamp) { return cat(stamp.text(), '\n'); }

}  // namespace

std::string WholeNotes::key() const { return cat("whole: ", name_); }

ConstantStore::Whole WholeNotes::known(const FileStamp& stamp) const {
  const std::string expected = note_head(stamp);
  const auto text = folder_.read(cache_kind::kChecks, key());
  if (!text || !text->starts_with(expected)) return {};
  return {text->begin() + static_cast<std::ptrdiff_t>(expected.size()), text->end()};
}

void WholeNotes::keep(const FileStamp& stamp, const ConstantStore::Whole& whole) const {
  constexpr int64_t kSecond = 1'000'000'000;
  if (stamp.changed % kSecond == 0) return;  // a file system of whole seconds does not tell a second's contents apart
  folder_.write(cache_kind::kChecks, key(), note_head(stamp).append(whole.begin(), whole.end()));
}

ConstantStore::Checked WholeNotes::keeper(std::shared_ptr<const FileMap> file, const FileStamp& stamp) const {
  return [notes = *this, file = std::move(file), stamp](const ConstantStore::Whole& checked) {
    if (file->stamp_now() == stamp) notes.keep(stamp, checked);
  };
}

}  // namespace vivace
