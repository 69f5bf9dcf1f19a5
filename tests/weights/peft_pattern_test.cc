#include "weights/peft_pattern.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::optional<double> of(const char* pattern, const std::string& module) {
  return PeftPattern(strict_ordered_json(pattern), "x.safetensors").of(module);
}

// What peft.utils.other.get_pattern_key finds (peft 0.21).
TEST(PeftPattern, KeysAreWholeNamesTheirEndsOrExpressions) {
  const std::string module = "transformer_blocks.10.attn.to_q";
  for (const char* key : {"transformer_blocks.10.attn.to_q", "to_q", "attn.to_q", R"(transformer_blocks\\.1\\d\\.attn\\.to_q)", "to_(q|k)",
                          "to_k|to_q", "to_[qk]", ".*to_q", R"(attn\\..*)", "transformer.blocks.10.attn.to_q"})
    EXPECT_EQ(of((R"({")" + std::string(key) + R"(": 3})").c_str(), module), 3) << key;
  for (const char* key : {"q", "o_q", "ttn.to_q", "attn", "to_q.", "transformer_blocks.10", "to_[kv]", "TO_Q", "to_q|", ""}) {
    const bool empty_alternative = std::string_view(key) == "to_q|";  // which fits "to_q" all the same
    EXPECT_EQ(of((R"({")" + std::string(key) + R"(": 3})").c_str(), module).has_value(), empty_alternative) << key;
  }
  EXPECT_EQ(of(R"({"to_k": 1, "to_.": 2, "attn.to_q": 3})", module), 2) << "the first one";
  EXPECT_EQ(of(R"({"attn.to_q": 3, "to_.": 2})", module), 3);
  EXPECT_FALSE(of(R"({"to_q": "many"})", module));
  EXPECT_FALSE(of("[1]", module));
}

TEST(PeftPattern, WhatIsNoExpressionIsNamed) {
  const auto refused = [](const std::string& key) { return message_of<UserError>([&] { of(json_text(nlohmann::json{{key, 1}}).c_str(), "m"); }); };
  for (const std::string& key : {std::string("to_("), std::string("["), std::string(201, '*'), std::string("a{3}"), std::string("(?<=a)b")})
    EXPECT_TRUE(refused(key).starts_with("x.safetensors: \"" + key + "\" is no regular expression that is read here: ")) << refused(key);
  // Expressions that a matcher that goes back would take years for.
  EXPECT_FALSE(of(R"({"(.*)*x": 1, "(a|a)*b": 2, "((.*)*)*y": 3})", std::string(120, 'a')));
}

}  // namespace
}  // namespace vivace
