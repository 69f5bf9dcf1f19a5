// Bad tokenizer folders: each is one UserError that names the file and what was expected.
#include <gtest/gtest.h>

#include <string>

#include "golden.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Small files that are right; a test replaces one of them.
struct Files {
  std::string vocabulary = R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|startoftext|>": 6, "<|endoftext|>": 7})";
  std::string merges = "#version: 0.2\na b</w>\na b\n";
  std::string config = R"({"bos_token": "<|startoftext|>", "eos_token": {"content": "<|endoftext|>"}, "model_max_length": 10})";

  CLIPTokenizer load(const std::string& other = "", const std::string& content = "") const {
    const TempFolder folder;
    write_text(folder / "vocab.json", vocabulary);
    write_text(folder / "merges.txt", merges);
    write_text(folder / "tokenizer_config.json", config);
    if (!other.empty()) write_text(folder / other, content);
    return CLIPTokenizer::from_pretrained(folder.path());
  }
};

// The error's message names both.
void expect_error(const std::string& file, const std::string& what, const Files& files, const std::string& other = "",
                  const std::string& content = "") {
  const std::string message = message_of<UserError>([&] { files.load(other, content); });
  EXPECT_NE(message.find(file), std::string::npos) << message;
  EXPECT_NE(message.find(what), std::string::npos) << message;
  EXPECT_NE(message.find("expected"), std::string::npos) << message;
}

void expect_vocabulary_error(const std::string& vocabulary, const std::string& what) {
  Files files;
  files.vocabulary = vocabulary;
  expect_error("vocab.json", what, files);
}
void expect_merges_error(const std::string& merges, const std::string& what) {
  Files files;
  files.merges = merges;
  expect_error("merges.txt", what, files);
}
void expect_config_error(const std::string& config, const std::string& what) {
  Files files;
  files.config = config;
  expect_error("tokenizer_config.json", what, files);
}

TEST(TokenizerFiles, GoodOnesLoad) {
  const CLIPTokenizer tokenizer = Files().load();
  EXPECT_EQ(tokenizer.model_max_length(), 10);
  EXPECT_EQ(tokenizer.encode("ab aba").ids, (std::vector<int32_t>{6, 5, 4, 2, 7, 7, 7, 7, 7, 7}));
  Files windows;
  windows.merges = "#version: 0.2\r\na b</w>\r\na b";
  EXPECT_EQ(windows.load().tokenize_ids("ab aba"), (std::vector<int32_t>{5, 4, 2}));
}

TEST(TokenizerFiles, MissingFiles) {
  EXPECT_NE(message_of<UserError>([] { CLIPTokenizer::from_pretrained("/no/such/folder"); }).find("/no/such/folder"), std::string::npos);
  const TempFolder folder;
  EXPECT_NE(message_of<UserError>([&] { CLIPTokenizer::from_pretrained(folder.path()); }).find("vocab.json"), std::string::npos);
  write_text(folder / "vocab.json", Files().vocabulary);
  EXPECT_NE(message_of<UserError>([&] { CLIPTokenizer::from_pretrained(folder.path()); }).find("merges.txt"), std::string::npos);
}

TEST(TokenizerFiles, BadVocabulary) {
  expect_vocabulary_error("{\"a\": 0,", "not valid JSON");
  expect_vocabulary_error("", "not valid JSON");
  expect_vocabulary_error("{\"a\": 0} x", "not valid JSON");
  expect_vocabulary_error("{\"\xff\": 0}", "not valid JSON");
  expect_vocabulary_error("[\"a\"]", "an id for each token");
  expect_vocabulary_error("3", "an id for each token");
  expect_vocabulary_error("{}", "no tokens");
  expect_vocabulary_error("{\"a\": \"0\"}", "\"a\"");
  expect_vocabulary_error("{\"a\": 1.5}", "\"a\"");
  expect_vocabulary_error("{\"a\": -1}", "\"a\"");
  expect_vocabulary_error("{\"a\": null}", "\"a\"");
  expect_vocabulary_error("{\"a\": {\"b\": 1}}", "\"a.\"");
  expect_vocabulary_error("{\"a\": 99999999999}", "\"a\"");
  expect_vocabulary_error("{\"a\": 0, \"a\": 1}", "twice");
  expect_vocabulary_error("{\"a\": 0, \"b\": 0}", "both have the id 0");
}

TEST(TokenizerFiles, VocabularyWithoutTheSpecialTokens) {
  expect_vocabulary_error(R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|endoftext|>": 6})", "<|startoftext|>");
  expect_vocabulary_error(R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|startoftext|>": 6})", "<|endoftext|>");
  Files files;
  files.config = R"({"pad_token": "!"})";
  expect_error("vocab.json", "pad_token", files);
  expect_error("tokenizer_config.json", "\"!\"", files);
}

TEST(TokenizerFiles, BadMerges) {
  expect_merges_error("#version: 0.2\na b\nab\n", "line 3");
  expect_merges_error("#version: 0.2\na b c\n", "line 2");
  expect_merges_error("a \n", "line 1");
  expect_merges_error(" a\n", "line 1");
  expect_merges_error("a  b\n", "line 1");
  expect_merges_error("a q\n", "\"q\"");
  expect_merges_error("b a\n", "\"ba\"");
  expect_merges_error(std::string("\0\xff\n", 3), "line 1");
}

TEST(TokenizerFiles, BadConfig) {
  expect_config_error("{", "not valid JSON");
  expect_config_error("[]", "an object");
  expect_config_error(R"({"bos_token": 3})", "bos_token");
  expect_config_error(R"({"bos_token": null})", "bos_token");
  expect_config_error(R"({"pad_token": ""})", "pad_token");
  expect_config_error(R"({"eos_token": {"contents": "x"}})", "eos_token.content");
  expect_config_error(R"({"eos_token": {"content": "<|endoftext|>", "normalized": "yes"}})", "eos_token.normalized");
  expect_config_error(R"({"additional_special_tokens": "<x>"})", "additional_special_tokens");
  expect_config_error(R"({"added_tokens_decoder": []})", "added_tokens_decoder");
  expect_config_error(R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})", "added_tokens_decoder.x");
  expect_config_error(R"({"added_tokens_decoder": {"8": "<x>"}})", "added_tokens_decoder.8");
  for (const char* length : {"1", "0", "-5", "\"77\"", "[77]"})
    expect_config_error(std::string("{\"model_max_length\": ") + length + "}", "model_max_length");
  expect_config_error(R"({"padding_side": "left"})", "padding_side");
  expect_config_error(R"({"truncation_side": "left"})", "truncation_side");
  expect_config_error(R"({"split_special_tokens": true})", "split_special_tokens");
  expect_error("special_tokens_map.json", "eos_token", {}, "special_tokens_map.json", R"({"eos_token": ["x"]})");
  expect_error("added_tokens.json", "<x>", {}, "added_tokens.json", R"({"<x>": "8"})");
  expect_error("added_tokens.json", "<x>", {}, "added_tokens.json", R"({"<x>": 99999999999})");
}

TEST(TokenizerFiles, AbsurdLengthIsThatOfClip) {
  Files files;
  files.config = R"({"model_max_length": 1000000000000000019884624838656})";
  EXPECT_EQ(files.load().model_max_length(), 77);
  files.config = "{}";
  EXPECT_EQ(files.load().model_max_length(), 77);
}

TEST(TokenizerFiles, SpecialTokensMayBeAddedTokens) {
  Files files;
  files.vocabulary = R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|endoftext|>": 6})";
  const CLIPTokenizer tokenizer = files.load("added_tokens.json", R"({"<|startoftext|>": 7, "<a>": 8})");
  EXPECT_EQ(tokenizer.bos_token_id(), 7);
  EXPECT_EQ(tokenizer.tokenize_ids("a<A>"), (std::vector<int32_t>{2, 8}));
}

// As in transformers, where these are looked for in the normalised text unless the config's own list calls them special.
TEST(TokenizerFiles, AddedTokensThatAreCalledSpecial) {
  const Files files;
  const nlohmann::json added = {{"<a>", 8}}, list = {"<a>"};
  const auto ids = [&](const char* file, const char* field) {
    nlohmann::json others = {{"tokenizer_config.json", nlohmann::json::object()}, {"added_tokens.json", added}};
    others[file][field] = list;
    return make_tokenizer(files.vocabulary, files.merges, others).tokenize_ids("a<A>");
  };
  EXPECT_EQ(ids("special_tokens_map.json", "additional_special_tokens"), (std::vector<int32_t>{2, 8}));
  EXPECT_EQ(ids("tokenizer_config.json", "additional_special_tokens"), (std::vector<int32_t>{2, 7, 2, 7}));
  EXPECT_EQ(ids("tokenizer_config.json", "extra_special_tokens"), (std::vector<int32_t>{2, 7, 2, 7}));
}

TEST(TokenizerFiles, BadTokenizerJson) {
  const auto error_of = [](const std::string& content) {
    const TempFolder folder;
    write_text(folder / "tokenizer.json", content);
    const std::string message = message_of<UserError>([&] { CLIPTokenizer::from_pretrained(folder.path()); });
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
    return message;
  };
  const std::string vocabulary = R"("vocab": {"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2})";
  EXPECT_NE(error_of("{}").find("no tokens"), std::string::npos);
  for (const std::string content :
       {R"([])", R"({"model": {"type": "Unigram"}})", R"({"model": {"vocab": [["a", 0]]}})", R"({"model": {"vocab": {"a": {}}}})"})
    EXPECT_NE(error_of(content).find("expected"), std::string::npos);
  for (const std::string merges : {R"(["ab"])", R"([["a"]])", R"([3])", R"([["a", 3]])", R"([["a", "a", "a"]])"})
    EXPECT_NE(error_of("{\"model\": {" + vocabulary + ", \"merges\": " + merges + "}}").find("merges"), std::string::npos) << merges;
  for (const std::string token :
       {R"({})", R"({"id": 3})", R"({"id": "3", "content": "x"})", R"({"id": 1e300, "content": "x"})", R"({"id": 3, "content": "x", "special": 1})"})
    EXPECT_NE(error_of("{\"model\": {" + vocabulary + "}, \"added_tokens\": [" + token + "]}").find("added_tokens"), std::string::npos) << token;
  EXPECT_NE(error_of(std::string(100000, '[')).find("expected"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": " + std::string(100000, '[')).find("expected"), std::string::npos);
}

}  // namespace
}  // namespace vivace
