// Equality with transformers' CLIPTokenizer, by the golden file, and what holds for any text.
#include "tokenizers/clip_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/json.h"
#include "golden.h"

namespace vivace {
namespace {

using Ids = std::vector<int32_t>;

// As tokenizer(text).input_ids: bos, text, eos.
Ids input_ids(const CLIPTokenizer& tokenizer, std::string_view text) {
  Ids ids = tokenizer.tokenize_ids(text);
  ids.insert(ids.begin(), tokenizer.bos_token_id());
  ids.push_back(tokenizer.eos_token_id());
  return ids;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string spelled(const CLIPTokenizer& tokenizer, const Ids& ids) {
  std::string out;
  for (const int32_t id : ids) out += tokenizer.token(id) + " ";
  return out;
}

TEST(CLIPTokenizer, VocabularyFollowsFromItsMerges) {
  EXPECT_TRUE(strict_json(clip_vocabulary(read_file(kClip / "merges.txt"))) == strict_json(read_file(kClip / "vocab.json")));
}

TEST(CLIPTokenizer, StringsEqualTransformers) {
  ASSERT_GE(golden()["strings"].size(), 1000u);
  for (const auto& row : golden()["strings"]) {
    const std::string text = row["text"];
    for (const std::string name : {"clip", "clip_2", "small", "small_2"}) {
      const Ids expected = row.contains(name) ? row[name] : row["clip"], got = input_ids(tokenizer(name), text);
      EXPECT_EQ(got, expected) << name << ": " << row["text"] << "\ngot      " << spelled(tokenizer(name), got) << "\nexpected "
                               << spelled(tokenizer(name), expected);
    }
  }
}

TEST(CLIPTokenizer, IdsOfEmojiFlux) {
  const CLIPTokenizer::Encoding red_apple = CLIPTokenizer::from_pretrained(VIVACE_SOURCE_DIR "/assets/emoji-flux/tokenizer").encode("a red apple", 7);
  EXPECT_EQ(red_apple.ids, (Ids{1534, 320, 609, 752, 1535, 1535, 1535}));
  EXPECT_EQ(red_apple.length, 5);
}

TEST(CLIPTokenizer, PaddingAndTruncationEqualTransformers) {
  for (const auto& row : golden()["padded"]) {
    const CLIPTokenizer& t = tokenizer(row["tokenizer"]);
    const auto encoding = t.encode(row["text"].get<std::string>());
    EXPECT_EQ(encoding.ids, row["ids"].get<Ids>()) << row["tokenizer"] << ": " << row["text"];
    EXPECT_EQ(encoding.truncated, row["removed"].get<std::string>()) << row["tokenizer"] << ": " << row["text"];
    EXPECT_EQ(encoding.length, std::min<int>(77, static_cast<int>(t.tokenize_ids(row["text"].get<std::string>()).size()) + 2));
  }
}

TEST(CLIPTokenizer, TwoKindsOfPadding) {
  const auto by_eos = tokenizer("clip").encode("a photo of a cat"), by_mark = tokenizer("clip_2").encode("a photo of a cat");
  const Ids text = {49406, 320, 1125, 539, 320, 2368, 49407};
  EXPECT_EQ(by_eos.length, 7);
  EXPECT_EQ(Ids(by_eos.ids.begin(), by_eos.ids.begin() + 7), text);
  EXPECT_EQ(Ids(by_mark.ids.begin(), by_mark.ids.begin() + 7), text);
  EXPECT_EQ(Ids(by_eos.ids.begin() + 7, by_eos.ids.end()), Ids(70, 49407));
  EXPECT_EQ(Ids(by_mark.ids.begin() + 7, by_mark.ids.end()), Ids(70, 0));
  EXPECT_EQ(tokenizer("clip").pad_token_id(), 49407);
  EXPECT_EQ(tokenizer("clip_2").pad_token_id(), 0);
  EXPECT_EQ(by_eos.truncated, "");
}

TEST(CLIPTokenizer, DecodingEqualsTransformers) {
  for (const auto& row : golden()["decoded"]) {
    const CLIPTokenizer& t = tokenizer(row["tokenizer"]);
    const Ids ids = row["ids"];
    EXPECT_EQ(t.decode(ids), row["text"].get<std::string>()) << row;
    EXPECT_EQ(t.decode(ids, true), row["skipped"].get<std::string>()) << row;
  }
  EXPECT_EQ(tokenizer("small").decode(Ids{-1, 1 << 30, 320}), "a") << "ids without a token are left out";
  EXPECT_EQ(tokenizer("small").token(320), "a</w>");
  EXPECT_EQ(tokenizer("small").token(-1), "");
  EXPECT_EQ(tokenizer("small").token(1536), "");
}

TEST(CLIPTokenizer, BrokenUtf8CountsAsReplacementCharacters) {
  for (const auto& row : golden()["bytes"]) EXPECT_EQ(input_ids(tokenizer("clip"), from_hex(row["hex"])), row["ids"].get<Ids>()) << row;
}

TEST(CLIPTokenizer, OtherConfigurationsEqualTransformers) {
  const auto read = [](const char* name) {
    std::ifstream file(kSmallModel / "tokenizer" / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string vocabulary = read("vocab.json"), merges = read("merges.txt");
  for (const auto& variant : golden()["variants"]) {
    SCOPED_TRACE(variant["name"]);
    const CLIPTokenizer t = make_tokenizer(vocabulary, merges, variant["files"]);
    for (const auto& row : variant["cases"]) {
      const std::string text = row["text"];
      EXPECT_EQ(input_ids(t, text), row["ids"].get<Ids>()) << text;
      EXPECT_EQ(t.decode(row["ids"].get<Ids>()), row["decoded"].get<std::string>()) << text;
    }
    EXPECT_EQ(t.encode(variant["cases"][0]["text"].get<std::string>()).ids, variant["padded"].get<Ids>());
  }
}

// tokenizer.json holds what vocab.json, merges.txt and the added tokens hold.
TEST(CLIPTokenizer, TokenizerJsonAlone) {
  const TempFolder folder;
  nlohmann::json file = {{"model", {{"type", "BPE"}}}, {"normalizer", {{"type", "NFC"}}}};
  file["model"]["vocab"] = read_json(kSmallModel / "tokenizer/vocab.json");
  for (const bool as_pairs : {false, true}) {
    auto& merges = file["model"]["merges"] = nlohmann::json::array();
    std::ifstream lines(kSmallModel / "tokenizer/merges.txt");
    std::string left, right;
    std::getline(lines, left);
    while (lines >> left >> right) merges.push_back(as_pairs ? nlohmann::json{left, right} : nlohmann::json(left + " " + right));
    file["added_tokens"] = {{{"id", 1534}, {"content", "<|startoftext|>"}, {"special", true}, {"normalized", true}},
                            {{"id", 1535}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", true}}};
    write_text(folder / "tokenizer.json", json_text(file));
    const CLIPTokenizer t = CLIPTokenizer::from_pretrained(folder.path());
    for (const char* text : {"a red apple", "A <|ENDOFTEXT|> b", "caf\u00e9 <|StartOfText|>!!"})
      EXPECT_EQ(t.encode(text).ids, tokenizer("small").encode(text).ids) << text;
  }
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"a", "B", "é",      "e\u0301",       "猫",   " ", "  ", "\t", "!", "'s", "'", "1",
                                                 "½", "😀", "\u200d", "<|endoftext|>", "\xff", "İ", "Σ"};
  std::string text;
  for (size_t n = random() % 200; n > 0; --n) text += parts[random() % parts.size()];
  return text;
}

TEST(CLIPTokenizer, HoldsForAnyText) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::string text = random_text(random);
    for (const std::string name : {"clip", "small_2"}) {
      const CLIPTokenizer& t = tokenizer(name);
      const Ids ids = t.tokenize_ids(text);
      const auto encoding = t.encode(text);
      ASSERT_EQ(encoding.ids.size(), 77u);
      EXPECT_EQ(encoding.ids[0], t.bos_token_id());
      EXPECT_EQ(encoding.ids[encoding.length - 1], t.eos_token_id());
      EXPECT_EQ(encoding.truncated.empty(), ids.size() <= 75) << text;
      // What comes out says what went in: words and their spelling survive a second round.
      const std::string decoded = t.decode(ids);
      EXPECT_EQ(t.decode(t.tokenize_ids(decoded)), decoded) << text;
    }
  }
}

TEST(CLIPTokenizer, DecodingGivesTheWordsBack) {
  EXPECT_EQ(tokenizer("clip").decode(tokenizer("clip").tokenize_ids("  A  PHOTO of\na caf\u00e9 ")), "a photo of a caf\u00e9");
  EXPECT_EQ(tokenizer("clip").decode(tokenizer("clip").tokenize_ids("isn't 1984")), "isn 't 1 9 8 4");
}

TEST(CLIPTokenizer, LongWordsAreNoTrap) {
  const std::string word(1 << 20, 'a');  // a search for the best pair in each step would take 10^12 steps
  EXPECT_GT(tokenizer("clip").tokenize_ids(word).size(), 1000u);
  std::string marks = "a";
  for (int i = 0; i < (1 << 18); ++i) marks += i % 2 ? "\u0327" : "\u0301";
  EXPECT_GT(tokenizer("clip").tokenize_ids(marks).size(), 1000u);
}

}  // namespace
}  // namespace vivace
