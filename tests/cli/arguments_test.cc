// What the command line makes of its words: texts are taken as they are, numbers are decimal, --help is in groups.
#include "program.h"
#include "vivace/image.h"

namespace vivace {
namespace {

// The command with what makes it quick behind its name, where it cannot be taken for anything else.
std::vector<std::string> quick(std::vector<std::string> arguments, const std::string& output) {
  const std::vector<std::string> more{"--model", tiny_model(), "--num-inference-steps", "1", "--threads", "1", "-q", "-o", output};
  arguments.insert(arguments.begin() + 1, more.begin(), more.end());
  return arguments;
}

// The text of a PNG's chunk as it is stored: keyword, NUL, text, and the four bytes of a checksum. In iTXt five bytes stand before the text.
bool holds(const std::string& png, const std::string& type, const std::string& keyword, const std::string& text) {
  const std::string begin = type + keyword + '\0' + (type == "iTXt" ? std::string(4, '\0') : "");
  const size_t at = png.find(begin);
  if (at == std::string::npos || at < 4) return false;
  size_t size = 0;
  for (size_t i = at - 4; i < at; ++i) size = size * 256 + static_cast<unsigned char>(png[i]);
  return png.substr(at + begin.size(), size + 4 - begin.size()) == text;
}

// Lists, names of commands, separators, quotes and comments of other parsers.
const std::vector<std::string> kPrompts{"[a cat, a dog]", "[]", "[",   "sheet", "cache", "%%",    "++",    "",    "\"quoted\"", "'single'", "a=b",
                                        "-5 apples",      "-",  "{x}", "# y",   ";",     "@file", "$HOME", "\\n", " spaces "};

TEST(Prompts, AreTakenAsTheyAre) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  std::vector<std::string> arguments{"sheet"};
  std::string listing;
  for (const std::string& prompt : kPrompts) {
    arguments.push_back(prompt);
    listing += prompt + '\n';
  }
  const Finished done = vivace(quick(arguments, path));
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(holds(read_text(path), "tEXt", "prompt", listing));
}

TEST(Prompts, AsAnOptionToo) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  for (const std::string prompt : {"[a, b]", "[]", "info", "", "--seed", "-q", "--", "a=b=c"}) {
    for (const bool attached : {false, true}) {
      std::vector<std::string> arguments{"generate", attached ? "--prompt=" + prompt : "--prompt"};
      if (!attached) arguments.push_back(prompt);
      arguments.insert(arguments.end(), {"--negative-prompt", prompt, "--prompt-2=" + prompt});
      const Finished done = vivace(quick(arguments, path));
      ASSERT_EQ(done.code, 0) << prompt << ": " << done.err;
      EXPECT_TRUE(holds(read_text(path), "tEXt", "prompt", prompt)) << prompt;
      EXPECT_TRUE(holds(read_text(path), "tEXt", "negative_prompt", prompt)) << prompt;
    }
  }
}

TEST(Prompts, BehindTwoDashesAnythingIsOne) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  ASSERT_EQ(vivace(quick({"sheet", "a", "--", "--seed", "--", "-o", "generate"}, path)).code, 0);
  EXPECT_TRUE(holds(read_text(path), "tEXt", "prompt", "a\n--seed\n--\n-o\ngenerate\n"));
  expect_refused(vivace({"generate", "--sed", "7"}), 2, {"--sed", "goes behind --", "generate --help"});
  EXPECT_NE(vivace({"tokenize", "[a, b]"}).out.find("[</w>"), std::string::npos);
  EXPECT_NE(vivace({"tokenize", "--", "--help"}).out.find("<|startoftext|>"), std::string::npos);
}

// Editors and other systems: a byte-order mark, lines that end in CR LF, no end of the last line.
TEST(Prompts, FromAFileWithoutMarkAndCarriageReturns) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string(), file = (folder / "prompts.txt").string();
  write_text(file, "\xef\xbb\xbf[a cat]\r\na dog\r\nlast");
  ASSERT_EQ(vivace(quick({"sheet", "--from", file}, path)).code, 0);
  EXPECT_TRUE(holds(read_text(path), "tEXt", "prompt", "[a cat]\na dog\nlast\n"));
  write_text(file, std::string("\xff\xfe"
                               "a\0",
                               4));
  expect_refused(vivace(quick({"sheet", "--from", file}, path)), 1, {"prompts.txt", "UTF-16", "UTF-8"});
  write_text(file, std::string("a\0b", 3));
  expect_refused(vivace(quick({"sheet", "--from", file}, path)), 1, {"prompts.txt", "no text"});
  expect_refused(vivace({"bench", "--prompts", "/dev/null"}), 1, {"/dev/null", "no prompts"});
}

TEST(Prompts, ThatAreNoUtf8AreReadAsTheTokenizerReadsThem) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  const Finished done = vivace(quick({"generate", "caf\xe9"}, path));
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(holds(read_text(path), "iTXt", "prompt", "caf\ufffd"));
  EXPECT_EQ(vivace({"tokenize", "caf\xe9"}).out, vivace({"tokenize", "caf\ufffd"}).out);
  // The same of a folder's name, in the settings; and a picture's path may be any bytes.
  const std::filesystem::path odd = folder / "mod\xe8le";
  std::filesystem::copy(tiny_model(), odd, std::filesystem::copy_options::recursive);
  const std::string output = (folder / "\xff.png").string();
  ASSERT_EQ(vivace({"generate", "x", "--model", odd, "--num-inference-steps", "1", "-o", output, "--json"}).code, 0);
  EXPECT_NE(read_text(output).find("mod\ufffdle num_inference_steps=1"), std::string::npos);
  expect_refused(vivace({"export", odd, "--no-weights", "-q", "-o", (folder / "p").string()}), 1, {"mod\ufffdle", "UTF-8"});
}

TEST(Numbers, AreDecimal) {
  const TempFolder folder;
  const auto generate = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "x", "--model", tiny_model(), "--threads", "01", "-o", (folder / "x.npy").string()});
    return vivace(more);
  };
  const Finished ten = generate({"--seed", "010", "--num-inference-steps", "010", "--height", "0032"}),
                 eight = generate({"--seed", "008", "--num-inference-steps=02"});
  EXPECT_NE(ten.err.find("seed 10)"), std::string::npos) << ten.err;
  EXPECT_NE(ten.err.find("step 10/10"), std::string::npos) << ten.err;
  EXPECT_NE(eight.err.find("seed 8)"), std::string::npos) << eight.err;
  EXPECT_NE(generate({"--seed", "18446744073709551615", "--num-inference-steps=1"}).err.find("seed 18446744073709551615)"), std::string::npos);
}

TEST(Numbers, OutOfRangeOrNoneAreRefused) {
  for (const char* seed : {"18446744073709551616", "99999999999999999999999"})
    expect_refused(vivace({"generate", "x", "--seed", seed}), 2, {"--seed", seed, "to 18446744073709551615"});
  for (const char* seed : {"-1", "0x10", "1e3", "1.0", " 7", "7 ", "+7", "", "7,8", "[7]"})
    expect_refused(vivace({"sheet", "x", "--seed", seed}), 2, {"--seed is \"", seed, "whole number"});
  for (const char* option : {"--height", "--num-inference-steps", "--num-images-per-prompt", "--clip-skip", "--threads"})
    for (const char* value : {"9223372036854775808", "0x10", "1e1", "16.0", ""})
      expect_refused(vivace({"generate", "x", option, value}), 2, {option, value});
  for (const char* option : {"--guidance-scale", "--guidance-rescale", "--eta", "--denoising-end", "--autotune-seconds", "--sigmas", "--timesteps"})
    for (const char* value : {"1e400", "nan", "inf", "-inf", "0x1p3", "1;5", "one", ""})
      expect_refused(vivace({"generate", "x", option, value}), 2, {option});
  expect_refused(vivace({"generate", "x", "--timesteps", "999,,500"}), 2, {"--timesteps", "number"});
  expect_refused(vivace({"generate", "x", "--original-size", "512", "0x10"}), 2, {"--original-size", "0x10"});
  expect_refused(vivace({"generate", "x", "--original-size", "512"}), 2, {"--original-size", "2 values"});
  expect_refused(vivace({"tune", "--max-drift", "PSNR>=0x1E"}), 2, {"--max-drift", "PSNR>=0x1E"});
  expect_refused(vivace({"export", "-o", "x", "--size", "64x1e2"}), 2, {"--size", "1e2"});
  expect_refused(vivace({"make-random", "a", "b", "--seed", "4294967296"}), 2, {"--seed", "4294967295"});
  expect_refused(vivace({"make-random", "a", "b", "--max-shard-size", "1.5.5GB"}), 2, {"--max-shard-size", "1.5.5"});
}

TEST(Options, WrongOnesAreNamed) {
  expect_refused(vivace({"generate", "x", "--seed"}), 2, {"--seed", "needs a value"});
  expect_refused(vivace({"generate", "x", "--seed", "1", "--seed", "2"}), 2, {"--seed", "several times"});
  expect_refused(vivace({"generate", "x", "--dynamic=yes"}), 2, {"--dynamic", "no value", "yes"});
  expect_refused(vivace({"tokenize", "a", "b"}), 2, {"unexpected", "\"b\"", "tokenize --help"});
  expect_refused(vivace({"tokenize"}), 2, {"TEXT is missing"});
  expect_refused(vivace({"export"}), 2, {"--output is missing"});
  for (const char* other : {"--dtype", "--compile", "--quantize"})
    expect_refused(vivace({"generate", "x", "--profile", "p.json", other, "fp32"}), 2, {"--profile", other, "leave one"});
}

TEST(Options, SlipsOfTheKeyboard) {
  for (const char* slip : {"--seeed", "--Seed", "--sed"})
    expect_refused(vivace({"generate", "x", slip, "1"}), 2, {std::string("unknown option \"") + slip + "\": is it --seed?"});
  const Finished far = vivace({"generate", "x", "--xformers"});
  expect_refused(far, 2, {"unknown option"});
  EXPECT_EQ(far.err.find("is it"), std::string::npos) << far.err;
  expect_refused(vivace({"generate", "x", "--original-size", "64", "-o", "f.png"}), 2, {"--original-size", "needs 2 values"});
  EXPECT_EQ(vivace({"help"}).out, vivace({"--help"}).out);
  EXPECT_EQ(vivace({"help", "generate"}).out, vivace({"generate", "--help"}).out);
  expect_refused(vivace({"help", "nosuch"}), 2, {"unknown subcommand \"nosuch\"", "expected one of generate"});
  const TempFolder folder;
  ASSERT_EQ(vivace({"generate", "x", "--model", tiny_model(), "--num-inference-steps", "1", "-q", "-o=" + (folder / "x.png").string()}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "x.png"));
}

TEST(Options, HelpIsInGroups) {
  const std::string help = vivace({"generate", "--help"}).out;
  EXPECT_EQ(help, vivace({"generate", "a prompt", "--seed", "7", "-h"}).out);
  size_t at = 0;
  for (const char* title : {"\nWhat to draw\n", "--prompt ", "--height", "\nModel\n", "--model", "\nSampling\n", "--guidance-scale", "\nSpeed\n",
                            "--compile", "\nMemory and cache\n", "--no-cache", "\nOutput\n", "-o, --output", "\nEvery command\n", "--threads"}) {
    const size_t found = help.find(title, at);
    ASSERT_NE(found, std::string::npos) << title;
    at = found;
  }
  EXPECT_EQ(help.find("Excludes"), std::string::npos);
  for (size_t begin = 0; begin < help.size(); begin = help.find('\n', begin) + 1) EXPECT_LE(help.find('\n', begin) - begin, 120u);
}

}  // namespace
}  // namespace vivace
