// vivace bench: what it measures, its three forms, comparing, bad input. Functions, never speed.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "bench/report_html.h"
#include "program.h"
#include "vivace/image.h"

namespace vivace {
namespace {

using nlohmann::json;

const std::vector<std::string> kShort{"--num-inference-steps", "2", "--threads", "1", "-q"};

std::vector<std::string> bench(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"bench", "--model", tiny_model().string()});
  arguments.insert(arguments.end(), kShort.begin(), kShort.end());
  return arguments;
}

json read_json_file(const std::filesystem::path& path) { return strict_json(read_text(path)); }

// Every element that is opened is closed, in order.
void expect_balanced(const std::string& html) {
  static const std::vector<std::string> kVoid{"meta", "img", "br", "rect", "line", "circle"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    if (html[at + 1] == '!') continue;
    const bool closing = html[at + 1] == '/';
    const size_t begin = at + 1 + closing, end = html.find_first_of(" />\n", begin);
    const std::string name = html.substr(begin, end - begin);
    if (std::ranges::count(kVoid, name)) continue;
    if (!closing) {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << "nothing is open at </" << name;
    ASSERT_EQ(open.back(), name);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST(Bench, TheShortestEmojiLadder) {
  const TempFolder folder;
  const std::string as_json = (folder / "ladder.json").string(), html = (folder / "ladder.html").string();
  const Finished done = vivace(
      {"bench", "--ladder", "rocket <&>", "--num-inference-steps", "2", "--runs", "1", "--threads", "2", "-q", "--json", as_json, "--html", html});
  ASSERT_EQ(done.code, 0) << done.err;
  for (const char* word : {"fp32, math attention", "+ compile", "+ fused QKV", "cold start", "PSNR", "MDSI"})
    EXPECT_NE(done.out.find(word), std::string::npos) << word;

  const json report = read_json_file(as_json);
  EXPECT_EQ(report["settings"]["height"], 128);
  EXPECT_EQ(report["settings"]["prompts"][0], "rocket <&>");
  EXPECT_EQ(report["machine"]["threads"], 2);
  ASSERT_EQ(report["rungs"].size(), 8u);
  EXPECT_TRUE(report["rungs"][0]["quality"].empty());
  for (const json& rung : report["rungs"]) {
    SCOPED_TRACE(rung["name"]);
    ASSERT_FALSE(rung.contains("error")) << rung["error"];
    EXPECT_GT(rung["seconds"]["median"].get<double>(), 0);
    EXPECT_GT(rung["cold_seconds"]["median"].get<double>(), 0);
    EXPECT_GT(rung["peak_resident_bytes"].get<int64_t>(), int64_t{10} << 20);
    EXPECT_EQ(rung["pictures"].size(), 1u);
    for (const json& q : rung["quality"]) {
      EXPECT_TRUE(q["psnr"].is_null() || q["psnr"].get<double>() > 20);
      EXPECT_EQ(q["latent_cosine"].size(), 2u);
      EXPECT_GT(q["latent_cosine"][1].get<double>(), 0.99);
    }
  }
  // The second rung is the first one's arithmetic in another order; the last is bfloat16 with Winograd.
  EXPECT_LT(report["rungs"][1]["quality"][0]["latent_relative_rms"][1], report["rungs"].back()["quality"][0]["latent_relative_rms"][1]);

  const std::string page = read_text(html);
  expect_balanced(page);
  // Pictures are base64, in which any word may occur: what refers to another file has a quote or a bracket before it.
  for (const char* word : {"\"http", "\"//", "(http", "<link", "@import"})
    EXPECT_EQ(page.find(word), std::string::npos) << word << ": the page must hold everything itself";
  EXPECT_NE(page.find("rocket &lt;&amp;&gt;"), std::string::npos);
  EXPECT_EQ(page.find("rocket <&>"), std::string::npos);
  EXPECT_NE(page.find("data:image/png;base64,iVBORw0KGgo"), std::string::npos);
  EXPECT_NE(page.find("polyline"), std::string::npos);
}

TEST(Bench, OneSettingBesideItsReference) {
  const TempFolder folder;
  const std::string file = (folder / "a.json").string();
  ASSERT_EQ(vivace(bench({"x", "y", "--reference", "--compile", "max-autotune", "--error-budget", "0", "--original-size", "64", "48", "--runs", "2",
                          "--json", file}))
                .code,
            0);
  const json report = read_json_file(file);
  ASSERT_EQ(report["rungs"].size(), 2u);
  EXPECT_EQ(report["rungs"][1]["arguments"], (json{"--compile=max-autotune", "--error-budget=0"}));
  EXPECT_EQ(report["rungs"][1]["seconds"]["runs"].size(), 2u);
  EXPECT_EQ(report["rungs"][1]["quality"].size(), 2u);
  for (const json& q : report["rungs"][1]["quality"]) EXPECT_TRUE(q["psnr"].is_null() || q["psnr"].get<double>() > 60) << q;

  const Finished alone = vivace(bench({"--runs", "1", "--json", file}));
  EXPECT_NE(alone.out.find("One run each does not tell"), std::string::npos) << alone.out;
  ASSERT_EQ(alone.code, 0) << alone.err;
  EXPECT_EQ(read_json_file(file)["rungs"].size(), 1u);
  EXPECT_EQ(alone.out.find("PSNR"), std::string::npos);
}

TEST(Bench, TellsWhatItsProcessesWarnOf) {
  const Finished done = vivace({"bench", "--model", tiny_model(), "--num-inference-steps", "2", "--threads", "1", "--eta", "0.5", "--runs", "2"});
  ASSERT_EQ(done.code, 0) << done.err;
  const size_t warning = done.err.find("warning: EulerDiscreteScheduler has no eta: 0.5 is ignored\n");
  ASSERT_NE(warning, std::string::npos) << done.err;
  EXPECT_EQ(done.err.find("has no eta", warning + 40), std::string::npos) << "once: " << done.err;
}

TEST(Bench, ThePictureIsTheOneGenerateMakes) {
  const TempFolder folder;
  const std::string file = (folder / "a.json").string(), picture = (folder / "a.png").string();
  ASSERT_EQ(vivace(bench({"x", "--seed", "9", "--guidance-scale", "3", "--runs", "1", "--json", file})).code, 0);
  ASSERT_EQ(vivace({"generate", "x", "--seed", "9", "--guidance-scale", "3", "--model", tiny_model(), "--num-inference-steps", "2", "--threads", "1",
                    "-q", "-o", picture})
                .code,
            0);
  // The page embeds the same bytes: decode by way of the page's own base64 alphabet.
  const std::string text = read_json_file(file)["rungs"][0]["pictures"][0];
  std::string bytes;
  uint32_t group = 0, bits = 0;
  for (char c : text) {
    static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (c == '=') break;
    group = group << 6 | static_cast<uint32_t>(kDigits.find(c));
    if ((bits += 6) >= 8) bytes += static_cast<char>(group >> (bits -= 8) & 255);
  }
  write_text(folder / "b.png", bytes);
  EXPECT_EQ(Image::load(folder / "b.png").pixels(), Image::load(picture).pixels());
}

TEST(Bench, Compare) {
  const TempFolder folder;
  const std::string a = (folder / "a.json").string(), b = (folder / "b.json").string();
  ASSERT_EQ(vivace(bench({"--runs", "1", "--json", a})).code, 0);
  json report = read_json_file(a);
  json& rung = report["rungs"][0];
  for (const char* key : {"seconds", "step_seconds"})
    for (json& seconds : rung[key]["runs"]) seconds = seconds.get<double>() / 4;
  report["machine"]["cpu"] = "Another";
  report["settings"]["num_inference_steps"] = 3;
  report["settings"]["num_frames"] = 9;
  report["settings"]["device"] = "cuda";
  report["settings"]["seed"] = 18446744073709551615u;
  write_text(b, json_text(report));
  const Finished done = vivace({"bench", "--compare", a, b});
  EXPECT_EQ(done.code, 0) << done.err;
  for (const char* word : {"4.00x", "the CPU differs", "Another", "number of steps differs: 2 and 3", "number of frames differs: 0 and 9",
                           "the seed differs: 0 and 18446744073709551615", "the device differs: cpu and cuda", "B: s a video"})
    EXPECT_NE(done.out.find(word), std::string::npos) << done.out;
  EXPECT_EQ(vivace({"bench", "--compare", a, a}).out.find("note:"), std::string::npos);

  rung["name"] = "another";
  write_text(b, json_text(report));
  expect_refused(vivace({"bench", "--compare", a, b}), 1, {"no rung of the same name"});
}

// One picture a prompt, and the quality of every frame.
TEST(Bench, ThePageShowsAFirstFrameWithItsOwnFigures) {
  const std::vector<uint8_t> png = Image::from_tensor(Tensor::full({16, 16, 3}, 0.5f)).png();
  const std::string picture(png.begin(), png.end());
  cli::RungFigures first{.name = "fp32", .seconds = {2}, .step_seconds = {1}, .cold_seconds = {3}, .pictures = {picture, picture}}, second = first;
  second.name = "bf16";
  for (const double psnr : {11., 22., 33., 44.})
    second.quality.push_back({.psnr = psnr, .ssim = 1, .mdsi = 0, .latent_cosine = {1}, .latent_rms = {0.1}});
  const cli::Report report{.program = "vivace", .settings = {.device = "cuda:1", .prompts = {"a", "b"}, .frames = 2}, .rungs = {first, second}};
  const std::string page = cli::report_html(report);
  for (const char* shown : {"11.00 dB, SSIM", "33.00 dB, SSIM", "Seconds a video", "2 frames", ", cuda:1"})
    EXPECT_NE(page.find(shown), std::string::npos) << shown;
  EXPECT_EQ(page.find("22.00 dB, SSIM"), std::string::npos) << "the first prompt's second frame";
}

TEST(Bench, BadReports) {
  const TempFolder folder;
  const std::string a = (folder / "a.json").string(), bad = (folder / "bad.json").string();
  ASSERT_EQ(vivace(bench({"--runs", "1", "--json", a})).code, 0);
  expect_refused(vivace({"bench", "--compare", a, (folder / "none.json").string()}), 1, {"none.json"});
  expect_refused(vivace({"bench", "--compare", a}), 2, {"--compare"});
  for (const char* other : {"--scheduler-config", "--seed", "--html"})
    expect_refused(vivace({"bench", "--compare", a, a, other, "1"}), 2, {other, "changes nothing beside --compare"});
  expect_refused(vivace({"bench", "a red apple", "--compare", a, a}), 2, {"a prompt", "changes nothing beside --compare"});
  const auto refused = [&](const std::string& text, const std::vector<std::string>& names) {
    write_text(bad, text);
    expect_refused(vivace({"bench", "--compare", a, bad}), 1, names);
  };
  refused("{", {"bad.json"});
  refused("[]", {"bad.json"});
  refused("{\"a\": 1}", {"bad.json", "no report of vivace bench"});
  const json report = read_json_file(a);
  const auto broken = [&](const char* pointer, const json& value, const std::vector<std::string>& names) {
    json copy = report;
    copy[json::json_pointer(pointer)] = value;
    refused(json_text(copy), names);
  };
  broken("/rungs", json::array(), {"bad.json", "rungs"});
  broken("/rungs/0/seconds", nullptr, {"bad.json", "seconds"});
  broken("/rungs/0/seconds/runs", "fast", {"bad.json", "runs"});
  broken("/rungs/0/pictures", {"not base64!"}, {"bad.json", "base64"});
  broken("/machine/threads", "two", {"bad.json", "machine.threads"});
}

TEST(Bench, BadUse) {
  const TempFolder folder;
  expect_refused(vivace(bench({"--runs", "0"})), 2, {"--runs"});
  expect_refused(vivace(bench({"--ladder", "--compile", "default"})), 2, {"--compile", "ladder"});
  expect_refused(vivace(bench({"--ladder", "--dtype", "fp32"})), 2, {"--dtype", "bf16"});
  expect_refused(vivace(bench({"--ladder", "--reference"})), 2, {"--reference", "--ladder"});
  const std::string twice = (folder / "x").string();
  expect_refused(vivace(bench({"--json", twice, "--html", twice})), 2, {"--json and --html both name ", twice});
  expect_refused(vivace({"--json", "bench", "--compare", twice, twice}), 2, {"--json", "--compare"});
  expect_refused(vivace(bench({"--json", (folder / "no/such.json").string()})), 1, {"no/such.json"});
  expect_refused(vivace(bench({"--prompts", (folder / "none.txt").string()})), 1, {"none.txt"});
  // What the benchmarked process refuses, with its exit code.
  expect_refused(vivace(bench({"--denoising-end", "0.001", "--runs", "1"})), 2, {"takes no step", "--denoising-end"});
  expect_refused(vivace(bench({"--height", "33", "--runs", "1"})), 2, {"height"});
  expect_refused(vivace({"bench", "--model", (folder / "none").string(), "-q"}), 1, {"none"});
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Bench, InterruptedLeavesNoReport) {
  const TempFolder folder;
  const Finished done =
      vivace({"bench", "--ladder", "--model", tiny_model(), "--num-inference-steps", "2", "--runs", "50", "--json", (folder / "a.json").string()},
             {.interrupt_at = "run 1/"});
  EXPECT_EQ(done.code, 130) << done.err;
  EXPECT_EQ(folder.files(), 0u);
}

}  // namespace
}  // namespace vivace
