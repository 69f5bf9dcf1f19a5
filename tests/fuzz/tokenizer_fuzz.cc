// CLIP's tokenizer. The first byte chooses: any text is tokenised, or any content stands in one of the files of a tokenizer folder,
// which then loads or is a UserError.
#include <stdlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "tokenizers/clip_tokenizer.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace {

using vivace::CLIPTokenizer;
namespace fs = std::filesystem;

void check(bool holds) {
  if (!holds) std::abort();
}

void tokenize(const CLIPTokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.tokenize_ids(text);
  const auto encoding = tokenizer.encode(text);
  check(static_cast<int>(encoding.ids.size()) == tokenizer.model_max_length());
  check(encoding.length <= tokenizer.model_max_length() && encoding.ids[encoding.length - 1] == tokenizer.eos_token_id());
  for (const int32_t id : ids) check(!tokenizer.token(id).empty());
  const std::string decoded = tokenizer.decode(ids);
  check(vivace::to_valid_utf8(decoded) == decoded);
  check(tokenizer.tokenize_ids(vivace::to_valid_utf8(text)) == ids);
  const std::string nfc = vivace::to_nfc(vivace::to_valid_utf8(text));
  check(vivace::to_nfc(nfc) == nfc);
}

constexpr std::array<std::pair<const char*, std::string_view>, 3> kGoodFiles = {{
    {"vocab.json", R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|startoftext|>": 6, "<|endoftext|>": 7, "!": 8})"},
    {"merges.txt", "#version: 0.2\na b</w>\na b\n"},
    {"tokenizer_config.json", R"({"pad_token": "!", "model_max_length": 9, "added_tokens_decoder": {"6": {"content": "<|startoftext|>"}}})"},
}};
constexpr std::array kFiles = {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json"};

void write(const fs::path& path, std::string_view content) { std::ofstream(path, std::ios::binary) << content; }

const fs::path& temp_folder() {
  static const fs::path folder = [] {
    std::string pattern = (fs::temp_directory_path() / "vivace-fuzz-XXXXXX").string();
    check(::mkdtemp(pattern.data()));
    return fs::path(pattern);
  }();
  static const int at_exit = std::atexit([] { fs::remove_all(temp_folder()); });
  check(at_exit == 0);
  return folder;
}

void load(size_t file, std::string_view content) {
  const fs::path& folder = temp_folder();
  for (const char* name : kFiles) fs::remove(folder / name);
  const std::string_view name = kFiles[file];
  // tokenizer.json is read for its vocabulary where there is no vocab.json, special_tokens_map.json where the config has no added_tokens_decoder.
  for (const auto& [good, good_content] : kGoodFiles) {
    const bool left_out = (file >= 3 && std::string_view(good) == "tokenizer_config.json") || (file == 5 && std::string_view(good) == "vocab.json");
    if (!left_out) write(folder / good, good_content);
  }
  write(folder / name, content);
  try {
    const CLIPTokenizer tokenizer = CLIPTokenizer::from_pretrained(folder);
    tokenize(tokenizer, "ab! <|endoftext|>aab \u00e9 <a>");
  } catch (const vivace::UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const CLIPTokenizer small = CLIPTokenizer::from_pretrained(VIVACE_SOURCE_DIR "/assets/emoji-xl/tokenizer_2");
  if (size == 0) return 0;
  const std::string_view content(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (const size_t choice = data[0] % 12; choice < kFiles.size())
    load(choice, content);
  else
    tokenize(small, content);
  return 0;
}
