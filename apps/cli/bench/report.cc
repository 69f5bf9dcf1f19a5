#include "bench/report.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "backends/devices.h"
#include "base/json.h"
#include "base/log.h"
#include "base/parallel.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "vivace-bench-1";
constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

json samples(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  return {{"median", median(values)}, {"min", *std::ranges::min_element(values)}, {"max", *std::ranges::max_element(values)}, {"runs", values}};
}

json to_json(const Quality& q) {
  // JSON has no infinity: null stands for equal pictures.
  return {{"psnr", std::isinf(q.psnr) ? json(nullptr) : json(q.psnr)},
          {"ssim", q.ssim},
          {"mdsi", q.mdsi},
          {"latent_cosine", q.latent_cosine},
          {"latent_relative_rms", q.latent_rms}};
}

json to_json(const RungFigures& r) {
  json result{{"name", r.name}, {"arguments", r.arguments}};
  if (!r.error.empty()) {
    result["error"] = r.error;
    return result;
  }
  result["seconds"] = samples(r.seconds);
  result["step_seconds"] = samples(r.step_seconds);
  result["cold_seconds"] = samples(r.cold_seconds);
  result["peak_resident_bytes"] = r.peak_resident_bytes;
  result["quality"] = json::array();
  for (const Quality& q : r.quality) result["quality"].push_back(to_json(q));
  result["pictures"] = json::array();
  for (const std::string& png : r.pictures) result["pictures"].push_back(base64(png));
  return result;
}

std::vector<double> read_samples(const Config& rung, const char* key) {
  return rung.has(key) && !rung.is_null(key) ? rung.object(key).get<std::vector<double>>("runs") : std::vector<double>();
}

Quality read_quality(const Config& c) {
  return {c.get_or<double>("psnr", std::numeric_limits<double>::infinity()), c.get<double>("ssim"), c.get<double>("mdsi"),
          c.get<std::vector<double>>("latent_cosine"), c.get<std::vector<double>>("latent_relative_rms")};
}

RungFigures read_rung(const Config& c) {
  RungFigures r{
      .name = c.get<std::string>("name"), .arguments = c.get<std::vector<std::string>>("arguments"), .error = c.get_or<std::string>("error", "")};
  if (!r.error.empty()) return r;
  r.seconds = read_samples(c, "seconds");
  if (r.seconds.empty()) throw UserError(cat(c.name(), ": rung \"", r.name, "\" has no \"seconds\""));
  r.step_seconds = read_samples(c, "step_seconds");
  r.cold_seconds = read_samples(c, "cold_seconds");
  r.peak_resident_bytes = c.get<int64_t>("peak_resident_bytes");
  for (const Config& q : c.objects("quality")) r.quality.push_back(read_quality(q));
  for (const std::string& picture : c.get<std::vector<std::string>>("pictures")) r.pictures.push_back(from_base64(picture, c.name()));
  return r;
}

}  // namespace

Machine this_machine() {
  Machine m{.isa = open_device()->target().level_name, .threads = num_threads()};
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line) && m.cpu.empty();)
    if (line.starts_with("model name")) m.cpu = line.substr(std::min(line.size(), line.find(':') + 2));
  utsname name{};
  if (::uname(&name) == 0) m.system = cat(name.sysname, ' ', name.release, ' ', name.machine);
  m.memory_bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  return m;
}

json to_json(const Report& r) {
  json rungs = json::array();
  for (const RungFigures& rung : r.rungs) rungs.push_back(to_json(rung));
  const BenchSettings& s = r.settings;
  return {{"format", kFormat},
          {"program", r.program},
          {"version", r.version},
          {"date", r.date},
          {"machine",
           {{"cpu", r.machine.cpu},
            {"isa", r.machine.isa},
            {"system", r.machine.system},
            {"threads", r.machine.threads},
            {"memory_bytes", r.machine.memory_bytes}}},
          {"settings",
           {{"model", s.model},
            {"scheduler", s.scheduler},
            {"device", s.device},
            {"prompts", s.prompts},
            {"seed", s.seed},
            {"height", s.height},
            {"num_frames", s.frames},
            {"width", s.width},
            {"num_inference_steps", s.steps},
            {"guidance_scale", s.guidance_scale},
            {"runs", s.runs}}},
          {"rungs", rungs}};
}

Report read_report(const std::filesystem::path& path) {
  const Config c = Config::read(path);
  if (c.get_or<std::string>("format", "") != kFormat)
    throw UserError(cat(path.string(), " is no report of vivace bench: expected \"format\": \"", kFormat, "\""));
  const Config m = c.object("machine"), s = c.object("settings");
  Report r{.program = c.get<std::string>("program"), .version = c.get<std::string>("version"), .date = c.get<std::string>("date")};
  r.machine = {.cpu = m.get<std::string>("cpu"),
               .isa = m.get<std::string>("isa"),
               .system = m.get<std::string>("system"),
               .threads = m.get<int>("threads"),
               .memory_bytes = m.get<int64_t>("memory_bytes")};
  r.settings = {.model = s.get<std::string>("model"),
                .scheduler = s.get<std::string>("scheduler"),
                .device = s.get_or<std::string>("device", "cpu"),
                .prompts = s.get<std::vector<std::string>>("prompts"),
                .seed = s.get<uint64_t>("seed"),
                .height = s.get<int64_t>("height"),
                .width = s.get<int64_t>("width"),
                .frames = s.get_or<int64_t>("num_frames", 0),
                .steps = s.get<int>("num_inference_steps"),
                .runs = s.get<int>("runs"),
                .guidance_scale = s.get<double>("guidance_scale")};
  for (const Config& rung : c.objects("rungs")) r.rungs.push_back(read_rung(rung));
  if (r.rungs.empty()) throw UserError(cat(path.string(), ": field \"rungs\" is empty"));
  return r;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double spread(const std::vector<double>& values) { return *std::ranges::max_element(values) / *std::ranges::min_element(values) - 1; }

double ratio(const std::vector<double>& a, const std::vector<double>& b) { return a.empty() || b.empty() ? 0 : median(a) / median(b); }

std::string base64(const std::string& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += i + j > bytes.size() ? '=' : kDigits[group >> (18 - 6 * j) & 63];
  }
  return text;
}

std::string from_base64(const std::string& text, const std::string& name) {
  std::string bytes;
  uint32_t group = 0;
  size_t digits = 0, padding = 0;
  for (char c : text) {
    const char* digit = c == '=' ? kDigits : std::char_traits<char>::find(kDigits, 64, c);
    if (!digit || (padding > 0 && c != '=')) throw UserError(cat(name, ": a picture is not base64"));
    padding += c == '=';
    group = group << 6 | static_cast<uint32_t>(digit - kDigits);
    if (++digits % 4 == 0)
      for (size_t i = 0; i + std::min<size_t>(padding, 2) < 3; ++i) bytes += static_cast<char>(group >> (16 - 8 * i) & 255);
  }
  if (digits % 4 || padding > 2) throw UserError(cat(name, ": a picture is not base64"));
  return bytes;
}

}  // namespace vivace::cli
