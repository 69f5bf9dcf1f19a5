#include "tune/profile_file.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"
#include "pipelines/profile.h"
#include "vivace/error.h"
#include "vivace/profile.h"

namespace vivace::cli {
namespace {

using nlohmann::json;

json setting_json(const Measured& m) {
  // JSON has no infinity: null stands for equal pictures.
  return {{"seconds", m.seconds}, {"base_seconds", m.base_seconds},
          {"noise", m.noise},     {"psnr", std::isinf(m.drift.psnr) ? json(nullptr) : json(m.drift.psnr)},
          {"ssim", m.drift.ssim}, {"mdsi", m.drift.mdsi}};
}

Measured read_measured(const Config& c) {
  return {c.get<double>("seconds"),
          c.get<double>("base_seconds"),
          c.get<double>("noise"),
          {c.get_or<double>("psnr", std::numeric_limits<double>::infinity()), c.get<double>("ssim"), c.get<double>("mdsi")}};
}

json compile_json(const CompileOptions& options) {
  json layers = json::object();
  for (const auto& [layer, kind] : options.quantize) layers[quantization_name(kind)].push_back(layer);
  return {{"mode", compile_mode_name(options.mode)},
          {"sdpa", sdp_backends_name(options.sdpa)},
          {"error_budget", options.error_budget.each_layer.value_or(0)},
          {"layer_error_budgets", options.error_budget.layers},
          {"quantize", layers}};
}

// "20 and not 30"; of lists, which are shown in short, the first entry that differs.
std::string difference(const std::string& shown, const json& before, const json& now) {
  const auto text = [](const json& value) { return Config::parse(json_text(json{{"value", value}}), "").text("value"); };
  std::string words = cat(shown, " and not ", text(now));
  for (size_t i = 0; before.is_array() && now.is_array() && i < std::min(before.size(), now.size()); ++i)
    if (before[i] != now[i]) return cat(words, " (entry ", i + 1, " is ", text(before[i]), " and not ", text(now[i]), ')');
  return words;
}

}  // namespace

ProfileFile::ProfileFile(std::filesystem::path path, json asked) : path_(std::move(path)), asked_(std::move(asked)) {
  check_writable(path_);
  std::error_code ignored;
  if (!std::filesystem::exists(path_, ignored)) return;
  const std::string text = read_file(path_);
  const Config file = Config::parse(text, path_.string());
  (void)profile_in(file);  // refuses what is none
  const Config tuning = file.object("tuning"), found = tuning.object("asked");
  const json before = parse_json(text, path_.string())["tuning"]["asked"];
  for (const auto& [key, value] : asked_.items())
    if (before.value(key, json()) != value)
      throw UserError(cat(path_.string(), " was tuned with another ", key, ": ", difference(found.text(key), before.value(key, json()), value),
                          "; name another file, or remove it"));
  const Config measured = tuning.object("measured");
  for (const std::string& candidate : measured.keys()) measured_[candidate] = read_measured(measured.object(candidate));
}

std::optional<Measured> ProfileFile::find(const std::string& candidate) const {
  const auto found = measured_.find(candidate);
  return found == measured_.end() ? std::nullopt : std::optional(found->second);
}

void ProfileFile::add(const std::string& candidate, const Measured& measured) {
  measured_[candidate] = measured;
  write();
}

void ProfileFile::choose(const PretrainedOptions& setting, const std::vector<std::string>& candidates, const Measured& measured) {
  chosen_ = {
      {"dtype", dtype_name(setting.dtype)}, {"compile", compile_json(setting.compile)}, {"chosen", candidates}, {"result", setting_json(measured)}};
  write();
}

void ProfileFile::write() const {
  if (chosen_.empty()) return;  // nothing a pipeline could use yet
  json file = chosen_;
  file["format"] = kProfileFormat;
  json measured = json::object();
  for (const auto& [candidate, m] : measured_) measured[candidate] = setting_json(m);
  file["tuning"] = {{"asked", asked_}, {"measured", measured}};
  write_file(path_, json_text(file, 1) + "\n");
}

void check_profile_model(const Config& profile, const std::string& model) {
  if (!profile.has("tuning")) return;
  const auto tuned = profile.object("tuning").object("asked").get_or<std::string>("model", "");
  const std::string own = to_valid_utf8(std::filesystem::weakly_canonical(model).string());
  if (!tuned.empty() && tuned != own)
    warn(profile.name(), " was tuned for ", tuned, ", and this is ", own, ": what it gains here, and how far pictures drift, was not measured");
}

}  // namespace vivace::cli
