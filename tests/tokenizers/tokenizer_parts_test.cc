// The parts by themselves: Unicode tables against the Rust library's, UTF-8, byte-pair encoding, the vocabulary.
#include <gtest/gtest.h>

#include <map>

#include "base/utf8.h"
#include "golden.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary.h"

namespace vivace {
namespace {

constexpr char32_t kEnd = 0x110000;
bool is_surrogate(char32_t c) { return c >= 0xD800 && c < 0xE000; }

std::string utf8(std::initializer_list<char32_t> code_points) {
  std::string text;
  for (const char32_t c : code_points) append_code_point(text, c);
  return text;
}

TEST(Unicode, ClassesOfAllCodePoints) {
  const auto& runs = golden()["unicode"]["classes"];
  int wrong = 0;
  for (size_t run = 0; run < runs.size(); ++run) {
    const char32_t end = run + 1 < runs.size() ? runs[run + 1][0].get<char32_t>() : kEnd;
    const char expected = runs[run][1].get<std::string>()[0];
    for (char32_t c = runs[run][0].get<char32_t>(); c < end; ++c) {
      const char got = is_letter(c) ? 'L' : is_number(c) ? 'N' : is_white_space(c) ? 'S' : 'O';
      if (!is_surrogate(c) && got != expected && ++wrong < 10) ADD_FAILURE() << std::hex << static_cast<uint32_t>(c) << ' ' << got;
    }
  }
  EXPECT_EQ(wrong, 0);
}

void expect_mapping(const nlohmann::json& changed, std::string (*map)(std::string_view)) {
  std::map<char32_t, std::string> expected;
  for (const auto& row : changed) expected[row[0].get<char32_t>()] = row[1].get<std::string>();
  int wrong = 0;
  for (char32_t c = 0; c < kEnd; ++c) {
    if (is_surrogate(c)) continue;
    const auto found = expected.find(c);
    const std::string text = utf8({c});
    if (map(text) != (found == expected.end() ? text : found->second) && ++wrong < 10) ADD_FAILURE() << std::hex << static_cast<uint32_t>(c);
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Unicode, LowerCaseOfAllCodePoints) { expect_mapping(golden()["unicode"]["lower"], to_lowercase); }
TEST(Unicode, NfcOfAllCodePoints) { expect_mapping(golden()["unicode"]["nfc"], to_nfc); }

TEST(Unicode, NfcOrdersAndComposes) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(to_nfc("a\u0327\u0301"), "\u00e1\u0327") << "a mark of a lower class does not block";
  EXPECT_EQ(to_nfc("a\u0305\u0301"), "a\u0305\u0301") << "one of the same class does";
  EXPECT_EQ(to_nfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c") << "excluded from composition";
  EXPECT_EQ(to_nfc("\u0301e"), "\u0301e") << "no starter in front";
  EXPECT_EQ(to_nfc("\u1ebf e\u0302\u0301"), "\u1ebf \u1ebf");
}

TEST(Unicode, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(to_valid_utf8("caf\u00e9 \U0001f600"), "caf\u00e9 \U0001f600");
  EXPECT_EQ(to_valid_utf8("a\xff"
                          "b"),
            "a\ufffd"
            "b");
  EXPECT_EQ(to_valid_utf8("\xf0\x9f\x98"), "\ufffd") << "one for the beginning of a code point";
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd") << "a surrogate";
  EXPECT_EQ(to_valid_utf8("\xc0\xaf"), "\ufffd\ufffd") << "an overlong form";
}

TEST(Unicode, CollapsesWhiteSpace) { EXPECT_EQ(collapse_white_space(" \t a\u00a0\u3000b\n"), " a b "); }

TEST(ByteSpelling, ThereAndBack) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string back;
    append_spelled_bytes(back, byte_spelling(static_cast<uint8_t>(byte)));
    EXPECT_EQ(back, std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(byte_spelling('a'), "a");
  EXPECT_EQ(byte_spelling(' '), "\u0120");
  std::string text = "x";
  append_spelled_bytes(text, "a \u20ac");
  EXPECT_EQ(text, "xa \u20ac") << "a token with other characters stands for itself";
}

TEST(BytePairEncoding, MergesTheBestPairFirst) {
  Vocabulary vocabulary;
  for (const char* token : {"?", "a", "b", "a</w>", "b</w>", "ab", "ab</w>", "aba", "abab</w>"}) vocabulary.add(token, vocabulary.size());
  BytePairEncoding encoding(vocabulary, "</w>", 0);
  const auto id = [&](const char* token) { return vocabulary.find(token); };
  const auto encode = [&](const char* word) {
    std::vector<int32_t> ids;
    encoding.encode_word(word, ids);
    return ids;
  };
  EXPECT_EQ(encode("ab"), (std::vector{id("a"), id("b</w>")})) << "no merges yet";
  encoding.add_merge(id("a"), id("b</w>"), id("ab</w>"));
  encoding.add_merge(id("a"), id("b"), id("ab"));
  encoding.add_merge(id("ab"), id("a"), id("aba"));
  encoding.add_merge(id("ab"), id("ab</w>"), id("abab</w>"));
  EXPECT_EQ(encode("ab"), (std::vector{id("ab</w>")}));
  EXPECT_EQ(encode("abab"), (std::vector{id("abab</w>")}));
  EXPECT_EQ(encode("ababa"), (std::vector{id("ab"), id("ab"), id("a</w>")}));
  EXPECT_EQ(encode("abaab"), (std::vector{id("aba"), id("ab</w>")}));
  encoding.add_merge(id("b"), id("b"), id("?"));
  EXPECT_EQ(encode("bbbb"), (std::vector{id("?"), id("b"), id("b</w>")})) << "of two equal pairs the left one";
  EXPECT_EQ(encode("axb"), (std::vector{id("a"), id("?"), id("b</w>")})) << "a byte that the vocabulary lacks";
  EXPECT_TRUE(encode("").empty());
}

TEST(Vocabulary, FindsWhatWasAdded) {
  Vocabulary vocabulary;
  EXPECT_EQ(vocabulary.find("x"), -1);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(vocabulary.add("token" + std::to_string(i), i * 2), Vocabulary::Added::yes);
  EXPECT_EQ(vocabulary.size(), 20000);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(vocabulary.find("token" + std::to_string(i)), i * 2);
  EXPECT_EQ(vocabulary.find("token20000"), -1);
  EXPECT_EQ(vocabulary.text(38), "token19");
  EXPECT_TRUE(vocabulary.contains(38));
  for (const int32_t id : {-1, 1, 39999, 1 << 30}) EXPECT_FALSE(vocabulary.contains(id)) << id;
  EXPECT_EQ(vocabulary.add("token7", 1), Vocabulary::Added::text_taken);
  EXPECT_EQ(vocabulary.add("new", 14), Vocabulary::Added::id_taken);
  EXPECT_EQ(vocabulary.add("", 1), Vocabulary::Added::yes) << "an empty text is one like others";
  EXPECT_EQ(vocabulary.find(""), 1);
  EXPECT_EQ(vocabulary.text(1), "");
}

}  // namespace
}  // namespace vivace
