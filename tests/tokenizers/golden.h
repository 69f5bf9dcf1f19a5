// What tools/golden/tokenizer.py wrote, and tokenizer folders to go with it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "read_gzip.h"
#include "temp_folder.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/clip_tokenizer.h"

namespace vivace {

inline const nlohmann::json& golden() {
  static const nlohmann::json data = strict_json(read_gzip(VIVACE_TEST_DATA "/golden.json.gz"));
  return data;
}

inline void write_text(const std::filesystem::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// CLIP's vocab.json, which follows from its merges: the bytes that spell themselves, the others, all with </w>, the merges, the special tokens.
inline std::string clip_vocabulary(const std::string& merges) {
  std::vector<std::string> bytes;
  for (const bool itself : {true, false})
    for (int byte = 0; byte < 256; ++byte) {
      const std::string& spelling = byte_spelling(static_cast<uint8_t>(byte));
      const bool is_itself = spelling.size() == 1 || static_cast<unsigned char>(spelling[0]) < 0xC4;  // below U+0100
      if (is_itself == itself) bytes.push_back(spelling);
    }
  std::string vocabulary = "{";
  int id = 0;
  const auto add = [&](const std::string& token) {
    vocabulary += (id ? ", " : "") + json_text(nlohmann::json(token)) + ": " + std::to_string(id);
    ++id;
  };
  for (const std::string& byte : bytes) add(byte);
  for (const std::string& byte : bytes) add(byte + "</w>");
  std::istringstream lines(merges);
  std::string left, right;
  std::getline(lines, left);  // #version
  while (lines >> left >> right) add(left + right);
  add("<|startoftext|>");
  add("<|endoftext|>");
  return vocabulary + "}";
}

// A tokenizer from a folder with these texts and these JSON files.
inline CLIPTokenizer make_tokenizer(const std::string& vocabulary, const std::string& merges, const nlohmann::json& files) {
  const TempFolder folder;
  write_text(folder / "vocab.json", vocabulary);
  write_text(folder / "merges.txt", merges);
  for (const auto& [name, content] : files.items()) write_text(folder / name, json_text(content));
  return CLIPTokenizer::from_pretrained(folder.path());
}

inline const std::filesystem::path kClip = VIVACE_SOURCE_DIR "/assets/tokenizers/clip";
inline const std::filesystem::path kSmallModel = VIVACE_SOURCE_DIR "/assets/emoji-xl";

// "clip", "clip_2", "small" or "small_2" as in the golden file.
inline const CLIPTokenizer& tokenizer(const std::string& name) {
  static const std::string merges = read_file(kClip / "merges.txt"), vocabulary = read_file(kClip / "vocab.json");
  static const auto& files = golden()["tokenizers"];
  static const CLIPTokenizer clip = make_tokenizer(vocabulary, merges, files["clip"]), clip_2 = make_tokenizer(vocabulary, merges, files["clip_2"]);
  static const CLIPTokenizer small = CLIPTokenizer::from_pretrained(kSmallModel / "tokenizer");
  static const CLIPTokenizer small_2 = CLIPTokenizer::from_pretrained(kSmallModel / "tokenizer_2");
  if (name == "clip") return clip;
  if (name == "clip_2") return clip_2;
  return name == "small" ? small : small_2;
}

}  // namespace vivace
