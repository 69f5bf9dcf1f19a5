// T5's and Llama's tokenizers against transformers (tools/golden/pieces.py), from each of the files that a checkpoint may come with.
#include "tokenizers/sentencepiece_tokenizer.h"

#include "base/json.h"
#include "base/log.h"
#include "golden.h"
#include "tokenizers/sentencepiece_model.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const nlohmann::json& pieces() {
  static const nlohmann::json data = strict_json(read_gzip(VIVACE_TEST_DATA "/pieces.json.gz"));
  return data;
}

const fs::path kFlux = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-flux", kT5 = kFlux / "tokenizer_2", kLlama = fs::path(VIVACE_TEST_DATA) / "llama";

SentencePieceTokenizer t5(const fs::path& folder) { return SentencePieceTokenizer::from_pretrained(folder, PieceKind::unigram); }
SentencePieceTokenizer llama(const fs::path& folder) { return SentencePieceTokenizer::from_pretrained(folder, PieceKind::pairs); }

// A folder with these files of another alone.
const fs::path& of_files(const TempFolder& temp, const fs::path& from, std::initializer_list<const char*> files) {
  for (const char* file : files) fs::copy_file(from / file, temp.path() / file, fs::copy_options::overwrite_existing);
  return temp.path();
}

// `padded`: the padding token is known, which Llama's tokenizer.json does not say.
void expect_golden(const SentencePieceTokenizer& tokenizer, const std::string& name, bool padded = true) {
  int wrong = 0;
  for (const auto& item : pieces().at("strings")) {
    const std::string text = item.at("text");
    std::vector<int32_t> want = item.at(name);
    const auto encoding = tokenizer.encode(text, static_cast<int>(want.size()));
    if (encoding.ids != want && ++wrong < 10) {
      EXPECT_EQ(encoding.ids, want) << text;
    }
  }
  EXPECT_EQ(wrong, 0) << "of " << pieces().at("strings").size();
  for (const auto& item : pieces().at("padded")) {
    if (item.at("tokenizer") != name || !padded) continue;
    const auto encoding = tokenizer.encode(item.at("text").get<std::string>(), item.at("length").get<int>());
    EXPECT_EQ(encoding.ids, item.at("ids").get<std::vector<int32_t>>()) << item.at("text");
    const auto mask = item.at("mask").get<std::vector<int>>();
    EXPECT_EQ(encoding.length, std::count(mask.begin(), mask.end(), 1));
  }
}

TEST(T5Tokenizer, spiece_model_equals_transformers) {
  expect_golden(t5(kT5), "t5");
  const TempFolder temp;
  expect_golden(t5(of_files(temp, kT5, {"spiece.model"})), "t5");
}

TEST(T5Tokenizer, tokenizer_json_alone_equals_transformers) {
  const TempFolder temp;
  expect_golden(t5(of_files(temp, kT5, {"tokenizer.json"})), "t5");
}

// The vocabulary that comes with the program: the first two lines are of T5's documentation, all are what transformers makes of them.
TEST(T5Tokenizer, the_vocabulary_of_flux) {
  const std::pair<const char*, std::vector<int32_t>> lines[] = {
      {"translate English to German: The house is wonderful.", {13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1}},
      {"Studies have been shown that owning a dog is good for you", {6536, 43, 118, 2008, 24, 293, 53, 3, 9, 1782, 19, 207, 21, 25, 1}},
      {"a red apple", {3, 9, 1131, 8947, 1}},
      {"Une pomme tr\u00e8s rouge, 3D \u2014 \u201coctane\u201d", {2435, 26234, 1264, 11732, 6, 220, 308, 3, 318, 105, 32, 75, 17, 152, 15, 153, 1}},
      {"  two   spaces\nand <extra_id_0>", {192, 4856, 11, 32099, 1}},
      {"\u65e5\u672c", {3, 2, 1}},
      {"\ufb01ne \u00bd", {1399, 209, 2, 357, 1}},
      // Ways to cut them have equal sums, of which transformers takes the first.
      {"tatata", {3, 17, 9, 11564, 1}},
      {"\?\?\?\?\?\?\?\?\?\?", {3, 58, 8665, 8665, 8665, 1}},
      {"wow!!!!!! ...... aa!!!!!!o", {2275, 210, 55, 17065, 3, 14125, 3, 9, 9, 55, 17065, 32, 1}},
      {"1******123", {209, 1935, 21905, 14574, 1}},
      {"eee-------!?", {3, 15, 15, 15, 18, 14817, 14817, 55, 58, 1}},
      {"", {1}}};
  const auto tokenizer = t5(fs::path(VIVACE_SOURCE_DIR) / "assets/configs/flux-dev/tokenizer_2");
  EXPECT_EQ(tokenizer.model_max_length(), 512);
  for (const auto& [text, ids] : lines) EXPECT_EQ(tokenizer.encode(text, static_cast<int>(ids.size())).ids, ids) << text;
}

TEST(LlamaTokenizer, tokenizer_json_equals_transformers) {
  expect_golden(llama(kLlama), "llama");
  const TempFolder temp;
  expect_golden(llama(of_files(temp, kLlama, {"tokenizer.json"})), "llama", false);
}

TEST(LlamaTokenizer, tokenizer_model_merges_as_tokenizer_json_does) {
  const TempFolder temp;
  const auto model = llama(of_files(temp, kLlama, {"tokenizer.model"})), json = llama(kLlama);
  for (const auto& item : pieces().at("strings")) {
    const std::string text = item.at("text");
    if (text.find('<') == text.npos) {
      EXPECT_EQ(model.tokenize_ids(text), json.tokenize_ids(text)) << text;
    }
  }
}

// The files that checkpoints come with, and what they say of the same models.
TEST(SentencePieceTokenizer, files_beside_a_model_equal_transformers) {
  const nlohmann::json data = nlohmann::json::parse(read_gzip(VIVACE_TEST_DATA "/piece_variants.json.gz"));
  for (const auto& variant : data.at("variants")) {
    const TempFolder temp;
    for (const std::string file : variant.at("copied"))
      of_files(temp, (fs::path(VIVACE_SOURCE_DIR) / file).parent_path(), {fs::path(file).filename().c_str()});
    for (const auto& [name, content] : variant.at("files").items()) {
      if (content.is_string()) {
        write_text(temp / name, decode_base64(content.get<std::string>(), name));
        continue;
      }
      nlohmann::json whole = fs::exists(temp / name) ? nlohmann::json::parse(read_file(temp / name)) : nlohmann::json::object();
      whole.merge_patch(content);
      write_text(temp / name, whole.dump());
    }
    const auto tokenizer = open_tokenizer(variant.at("class").get<std::string>(), temp.path());
    for (const auto& row : variant.at("texts")) {
      const std::string text = row.at("text"), what = cat(variant.at("name").get<std::string>(), ": ", text);
      std::vector<int32_t> ids = row.at("ids");
      Tokenizer::Encoding encoding = tokenizer->encode(text, static_cast<int>(ids.size()));
      EXPECT_EQ(encoding.ids, ids) << what;
      if (row.at("padded").is_null()) continue;
      encoding = tokenizer->encode(text, 12);
      EXPECT_EQ(encoding.ids, row.at("padded").get<std::vector<int32_t>>()) << what;
      std::vector<int> mask(12);
      std::fill_n(mask.begin() + encoding.begin, encoding.length, 1);
      EXPECT_EQ(mask, row.at("mask").get<std::vector<int>>()) << what;
    }
  }
}

TEST(T5Tokenizer, tokens_and_what_is_cut_off) {
  const auto tokenizer = t5(kT5);
  EXPECT_EQ(tokenizer.encode("a red apple", 8).ids, (std::vector<int32_t>{3, 35, 76, 1, 0, 0, 0, 0}));
  EXPECT_EQ(tokenizer.encode("", 3).ids, (std::vector<int32_t>{1, 0, 0}));
  EXPECT_EQ(tokenizer.token(3), "\u2581a");
  EXPECT_EQ(tokenizer.token(1), "</s>");
  EXPECT_EQ(tokenizer.token(1 << 20), "");
  EXPECT_EQ(tokenizer.encode("a red apple", 2).truncated, "red apple");
}

TEST(SentencePieceTokenizer, refuses_what_is_none) {
  const TempFolder temp;
  const auto message = [&] {
    try {
      t5(temp.path());
      return std::string("accepted");
    } catch (const UserError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_NE(message().find("expected spiece.model or tokenizer.json"), std::string::npos) << message();
  write_text(temp.path() / "spiece.model", "no model");
  EXPECT_NE(message().find("spiece.model: no model of sentencepiece"), std::string::npos) << message();
  fs::remove(temp.path() / "spiece.model");
  for (const char* text :
       {"[]", "{}", "{\"model\": 1}", R"({"model": {"type": "Unigram"}})", R"({"model": {"type": "Unigram", "vocab": [["a"]], "unk_id": 0}})",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 7}})", R"({"model": {"type": "WordPiece"}})",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 0}, "normalizer": {"precompiled_charsmap": "!"}})",
        R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["</s>", 0], ["a", 0]], "unk_id": 0}})",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["</s>", 0]], "unk_id": 0}, "truncation": {"direction": "Left"}})"}) {
    write_text(temp.path() / "tokenizer.json", text);
    EXPECT_NE(message().find("tokenizer.json"), std::string::npos) << text << ": " << message();
  }
}

TEST(SentencePieceTokenizer, numbers_that_are_none) {
  const TempFolder temp;
  of_files(temp, kT5, {"spiece.model"});
  const auto refused = [&](const char* config, const char* part) {
    write_text(temp / "tokenizer_config.json", config);
    const std::string message = message_of<UserError>([&] { t5(temp.path()); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  for (const char* key : {"x", "", "1x", "-1", "99999999999"})
    refused(cat("{\"added_tokens_decoder\": {\"", key, "\": {\"content\": \"<x>\"}}}").c_str(), "expected a token's id, an integer, as the key");
  for (const char* extra : {"2000000000", "-1", "4294967297"}) refused(cat("{\"extra_ids\": ", extra, "}").c_str(), ": expected 0 to 16384");
  // A piece that looks like a byte's and is none.
  const TempFolder other;
  write_text(other / "tokenizer.json", R"({"model": {"type": "Unigram", "unk_id": 0,
    "vocab": [["<unk>", 0], ["</s>", 0], ["<pad>", 0], ["<0xZZ>", 0], ["<0x-1>", 0], ["<0x41>", 0]]}})");
  EXPECT_EQ(t5(other.path()).decode({3, 4, 5}), "<0xZZ><0x-1>A");
}

// Each of these would make ids of a text, which mean nothing to the model.
TEST(SentencePieceTokenizer, refuses_a_tokenizer_of_another_kind) {
  const auto refused = [](auto open, const fs::path& from, std::initializer_list<const char*> files, const char* name, const std::string& what) {
    const TempFolder temp;
    for (const char* file : files) fs::copy_file(from / file, temp / file);
    if (files.size() == 1) fs::rename(temp / *files.begin(), temp / name);
    const std::string message = message_of<UserError>([&] { open(temp.path()); });
    EXPECT_NE(message.find(name + what), std::string::npos) << message;
  };
  refused(t5, kFlux / "tokenizer", {"tokenizer.json", "tokenizer_config.json"}, "tokenizer.json",
          ": a model of type \"BPE\": expected the unigram model of a T5Tokenizer");
  refused(t5, kLlama, {"tokenizer.json"}, "tokenizer.json", ": a model of type \"BPE\"");
  refused(t5, kLlama, {"tokenizer.model"}, "spiece.model", ": a model of pairs: expected the unigram model of a T5Tokenizer");
  refused(llama, kFlux / "tokenizer", {"tokenizer.json", "tokenizer_config.json"}, "tokenizer.json",
          ": no token \"\u2581\": expected the byte pairs of a LlamaTokenizer");
  refused(llama, kT5, {"tokenizer.json"}, "tokenizer.json", ": a model of type \"Unigram\": expected the byte pairs of a LlamaTokenizer");
  refused(llama, kT5, {"spiece.model"}, "tokenizer.model", ": a unigram model: expected the byte pairs of a LlamaTokenizer");
  refused(CLIPTokenizer::from_pretrained, kT5, {"tokenizer.json"}, "tokenizer.json", ": wrong value at \"model.type\"");
  refused(CLIPTokenizer::from_pretrained, kLlama, {"tokenizer.json", "tokenizer_config.json"}, "tokenizer.json",
          ": no byte with \"</w>\" behind it: expected the tokens of a CLIPTokenizer");
  // Where both files are there, both are looked at.
  const TempFolder temp;
  of_files(temp, kT5, {"spiece.model"});
  of_files(temp, kFlux / "tokenizer", {"tokenizer.json"});
  EXPECT_NE(message_of<UserError>([&] { t5(temp.path()); }).find("tokenizer.json: a model of type \"BPE\""), std::string::npos);
}

}  // namespace
}  // namespace vivace
