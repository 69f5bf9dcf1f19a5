#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using testing::Test;

std::string parse_error(std::string_view text) {
  return message_of<UserError>([&] { parse_json(text, "unet/config.json"); });
}

Config config(std::string_view text) { return Config::parse(text, "unet/config.json"); }

template <class Call>
std::string user_error(const Call& call) {
  return message_of<UserError>(call);
}

TEST(Json, ParseErrorsNameTheFileAndThePlace) {
  EXPECT_EQ(parse_error("{\n  \"a\": 1,\n  \"b\" 2\n}").substr(0, 51), "unet/config.json: not valid JSON at line 3, column ");
  EXPECT_NE(parse_error("{\"a\": x}").find("line 1, column 7"), std::string::npos) << parse_error("{\"a\": x}");
  for (const char* bad :
       {"", " ", "{", "[1,", "{\"a\":1}}", "{\"a\":1,}", "nul", "{'a':1}", "\"abc", "{\"a\":1e999}", "{\"a\":\"\xff\"}", "\x01", "-Infinit", "xNaN"})
    EXPECT_EQ(parse_error(bad).substr(0, 32), "unet/config.json: not valid JSON") << bad;
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](int depth) { return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']'); };
  EXPECT_NO_THROW(parse_json(nested(60), "x"));
  EXPECT_NE(parse_error(nested(100)).find("nested deeper than 64"), std::string::npos);
  EXPECT_NE(parse_error(std::string(3000000, '[')).find("nested deeper than 64"), std::string::npos);
  EXPECT_NE(parse_error(std::string(3000000, '{')).find("not valid JSON"), std::string::npos);
}

TEST(Json, NonFiniteNumbersAsPythonWritesThem) {
  const Config c = config(R"({"low": -Infinity, "high":Infinity, "none": NaN, "text": "Infinity, -Infinity \" NaN", "list": [Infinity, 1]})");
  EXPECT_EQ(c.get<double>("low"), -INFINITY);
  EXPECT_EQ(c.get<float>("high"), INFINITY);
  EXPECT_TRUE(std::isnan(c.get<double>("none")));
  EXPECT_EQ(c.get<std::string>("text"), "Infinity, -Infinity \" NaN");
  EXPECT_EQ(c.get<std::vector<double>>("list"), (std::vector<double>{INFINITY, 1}));
}

TEST(Json, FilesThatCannotBeRead) {
  const TempFolder folder;
  EXPECT_EQ(user_error([&] { read_json(folder / "config.json"); }), (folder / "config.json").string() + ": file not found");
  EXPECT_EQ(user_error([&] { read_json(folder.path()); }), folder.path().string() + ": expected a file, found a folder");
  write_file(folder / "list.json", "[1, 2]");
  EXPECT_EQ(user_error([&] { Config::read(folder / "list.json"); }),
            (folder / "list.json").string() + ": expected a JSON object at the top, got [1,2]");
  write_file(folder / "config.json", R"({"a": 1})");
  EXPECT_EQ(Config::read(folder / "config.json").get<int>("a"), 1);
}

TEST(Config, ReadsEachType) {
  const Config c = config(R"({"b": true, "i": -7, "big": 9223372036854775807, "f": 1e-5, "s": "silu", "li": [320, 640], "lf": [0.5, 1],
      "ls": ["A", "B"], "lb": [true, false], "pair": ["diffusers", null], "null": null, "o": {"x": {"y": 3}}, "objects": [{"k": 1}, {"k": "no"}]})");
  EXPECT_TRUE(c.get<bool>("b"));
  EXPECT_EQ(c.get<int>("i"), -7);
  EXPECT_EQ(c.get<int64_t>("big"), INT64_MAX);
  EXPECT_EQ(c.get<double>("f"), 1e-5);
  EXPECT_EQ(c.get<double>("i"), -7.0);
  EXPECT_EQ(c.get<std::string>("s"), "silu");
  EXPECT_EQ(c.get<std::vector<int64_t>>("li"), (std::vector<int64_t>{320, 640}));
  EXPECT_EQ(c.get<std::vector<double>>("lf"), (std::vector<double>{0.5, 1}));
  EXPECT_EQ(c.get<std::vector<std::string>>("ls"), (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(c.get<std::vector<bool>>("lb"), (std::vector<bool>{true, false}));
  EXPECT_EQ(c.get<std::vector<std::optional<std::string>>>("pair"), (std::vector<std::optional<std::string>>{"diffusers", std::nullopt}));
  EXPECT_EQ(c.get_or<int>("null", 4), 4);
  EXPECT_EQ(c.get_or<int>("missing", 4), 4);
  EXPECT_EQ(c.get_or<int>("i", 4), -7);
  EXPECT_FALSE(c.get_optional<std::string>("null").has_value());
  EXPECT_EQ(c.get_optional<std::string>("s"), "silu");
  EXPECT_TRUE(c.has("null") && c.is_null("null") && !c.has("missing") && !c.is_null("missing") && c.is_list("li") && !c.is_list("i"));
  EXPECT_EQ(c.object("o").object("x").get<int>("y"), 3);
  EXPECT_EQ(c.objects("objects").size(), 2u);
  EXPECT_EQ(c.object("o").keys(), std::vector<std::string>{"x"});
  EXPECT_EQ(config(R"({"w": "a", "v": "b"})").string_fields(), (std::vector<std::pair<std::string, std::string>>{{"v", "b"}, {"w", "a"}}));
  EXPECT_EQ(user_error([&] { c.objects("objects")[1].get<int>("k"); }),
            "unet/config.json: field \"objects[1].k\": expected an integer of 32 bits, got \"no\"");
  EXPECT_EQ(user_error([&] { c.object("o").object("x").get<bool>("y"); }), "unet/config.json: field \"o.x.y\": expected true or false, got 3");
}

TEST(Config, WrongTypesNameTheField) {
  const Config c =
      config(R"({"block_out_channels": "abc", "i": 1.0, "huge": 18446744073709551615, "wide": 3000000000, "list": [1, "x"], "n": null})");
  EXPECT_EQ(user_error([&] { c.get<std::vector<int64_t>>("block_out_channels"); }),
            "unet/config.json: field \"block_out_channels\": expected a list of integers, got \"abc\"");
  EXPECT_EQ(user_error([&] { c.get<int64_t>("i"); }), "unet/config.json: field \"i\": expected an integer, got 1.0");
  EXPECT_EQ(user_error([&] { c.get<int64_t>("huge"); }), "unet/config.json: field \"huge\": expected an integer, got 18446744073709551615");
  EXPECT_EQ(user_error([&] { c.get<int>("wide"); }), "unet/config.json: field \"wide\": expected an integer of 32 bits, got 3000000000");
  EXPECT_EQ(c.get<int64_t>("wide"), 3000000000);
  EXPECT_EQ(user_error([&] { c.get<std::vector<int64_t>>("list"); }), "unet/config.json: field \"list\": expected a list of integers, got [1,\"x\"]");
  EXPECT_EQ(user_error([&] { c.get<double>("n"); }), "unet/config.json: field \"n\": expected a number, got null");
  EXPECT_EQ(user_error([&] { c.get<double>("gone"); }), "unet/config.json: field \"gone\" is missing: expected a number");
  EXPECT_EQ(user_error([&] { c.get_or<bool>("i", true); }), "unet/config.json: field \"i\": expected true or false, got 1.0");
  EXPECT_EQ(user_error([&] { c.object("list"); }), "unet/config.json: field \"list\": expected an object, got [1,\"x\"]");
}

TEST(Config, LongValuesAreShortenedInMessages) {
  const std::string message = user_error([&] { config("{\"a\": \"" + std::string(5000, 'x') + "\"}").get<int>("a"); });
  EXPECT_LT(message.size(), 200u);
  std::string list = "{\"a\": [0";
  for (int i = 0; i < 5000; ++i) list += ",0";
  EXPECT_EQ(user_error([&] { config(list + "]}").get<int64_t>("a"); }),
            "unet/config.json: field \"a\": expected an integer, got a list of 5001 entries");
}

TEST(Config, OneValueOrOneALevel) {
  const Config c = config(R"({"n": 2, "l": [1, 2, 10], "nested": [1, [2, 3], 4], "b": [false, true, true], "t": true, "null": null})");
  EXPECT_EQ(c.int_per_level("n", 3), (std::vector<int64_t>{2, 2, 2}));
  EXPECT_EQ(c.int_per_level("l", 3), (std::vector<int64_t>{1, 2, 10}));
  EXPECT_EQ(c.int_per_level("null", 2, 8), (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(c.ints_per_level("nested", 3), (std::vector<std::vector<int64_t>>{{1}, {2, 3}, {4}}));
  EXPECT_EQ(c.ints_per_level("n", 2), (std::vector<std::vector<int64_t>>{{2}, {2}}));
  EXPECT_EQ(c.bool_per_level("b", 3), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(c.bool_per_level("t", 2), (std::vector<bool>{true, true}));
  EXPECT_EQ(user_error([&] { c.int_per_level("l", 4); }), "unet/config.json: field \"l\": expected an integer or a list of 4 integers, got [1,2,10]");
  EXPECT_NE(user_error([&] { c.int_per_level("gone", 4); }).find("is missing"), std::string::npos);
  EXPECT_NE(user_error([&] { c.ints_per_level("l", 2); }).find("expected an integer or a list of 2"), std::string::npos);
}

TEST(Config, UnsupportedValuesNameTheField) {
  const Config c = config(R"({"act_fn": "tanh", "dual": true, "n": 3})");
  EXPECT_EQ(user_error([&] {
              c.one_of("act_fn", {"silu", "gelu", "mish"}, "silu");
            }),
            "unet/config.json: field \"act_fn\": value \"tanh\" is not supported: expected \"silu\", \"gelu\" or \"mish\"");
  EXPECT_EQ(user_error([&] { c.one_of("n", {"silu"}); }), "unet/config.json: field \"n\": expected \"silu\", got 3");
  EXPECT_EQ(c.one_of("act_fn", {"tanh"}), "tanh");
  EXPECT_EQ(c.one_of("gone", {"a"}, "b"), "b");
  EXPECT_EQ(user_error([&] { c.require<bool>("dual", false); }), "unet/config.json: field \"dual\": value true is not supported: expected false");
  EXPECT_NO_THROW(c.require<int64_t>("n", 3));
  EXPECT_NO_THROW(c.require<std::string>("gone", "x"));
}

TEST(Json, StrictTextAndBack) {
  for (const char* text : {"NaN", "[1,]", "{\"a\" 1}", ""}) EXPECT_TRUE(strict_json(text).is_discarded()) << text;
  EXPECT_EQ(strict_json("{\"b\": [1, 2.5], \"a\": null}"), (nlohmann::json{{"a", nullptr}, {"b", {1, 2.5}}}));
  EXPECT_EQ(strict_ordered_json("{\"b\": 1, \"a\": 2}").begin().key(), "b");
  const nlohmann::json value{{"a", {1, "\u00e9"}}};
  EXPECT_EQ(json_text(value), "{\"a\":[1,\"\u00e9\"]}");
  EXPECT_EQ(json_text(value, 1), "{\n \"a\": [\n  1,\n  \"\u00e9\"\n ]\n}");
  EXPECT_EQ(json_text(value, -1, true), "{\"a\":[1,\"\\u00e9\"]}");
  EXPECT_EQ(json_text("x\xff"), "\"x\uFFFD\"") << "no UTF-8";
}

}  // namespace
}  // namespace vivace
