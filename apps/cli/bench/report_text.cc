#include "bench/report_text.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/log.h"
#include "output.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

std::string seconds_text(const std::vector<double>& values) {
  const double s = median(values);
  return fixed(s, s < 0.1 ? 4 : s < 10 ? 3 : 2);
}

std::string times(double factor) { return factor > 0 ? fixed(factor, 2) + "x" : "-"; }

std::string header(const Report& r) {
  const BenchSettings& s = r.settings;
  const std::string prompts = s.prompts.size() == 1 ? cat('"', s.prompts[0], '"') : cat(s.prompts.size(), " prompts");
  return cat(r.program, ' ', r.version, " on ", r.machine.cpu, " (", r.machine.isa, ", ", r.machine.threads, " threads, ",
             bytes_text(static_cast<double>(r.machine.memory_bytes)), device_text(s), ")\n", s.model, ", ", prompts, ", ", s.height, "x", s.width,
             ", ", s.frames ? cat(s.frames, " frames, ") : "", s.steps, " steps, guidance ", s.guidance_scale, ", ", s.scheduler, ", seed ", s.seed,
             "; medians of ", s.runs, s.runs == 1 ? " run\n\n" : " interleaved runs\n\n");
}

// What keeps the figures from being relied on.
std::string doubts(const Report& r) {
  constexpr double kLarge = 0.1;
  double widest = 0;
  for (const RungFigures& rung : r.rungs)
    if (rung.seconds.size() > 1) widest = std::max(widest, spread(rung.seconds));
  if (r.settings.runs == 1) return "One run each does not tell how much equal runs differ: --runs 3 or more does.\n";
  if (widest <= kLarge) return "";
  return cat("Equal runs differ by up to ", fixed(100 * widest, 0), " %: other work took part of the machine; repeat it where nothing else runs.\n");
}

// The last rung before `i` that has figures.
const RungFigures* rung_before(const Report& r, size_t i) {
  while (i-- > 0)
    if (r.rungs[i].error.empty()) return &r.rungs[i];
  return nullptr;
}

std::string speed_table(const Report& r) {
  const bool several = r.rungs.size() > 1;
  const bool video = r.settings.frames > 0;
  std::vector<std::string> names{"rung", cat("s a ", drawn(r.settings)), "spread %", "s a step"};
  if (video) names.emplace_back("s a frame");
  if (several) names.insert(names.end(), {"faster than the first", "than the one before"});
  names.insert(names.end(), {"cold start s", "peak memory"});
  Table table(names);
  for (size_t i = 0; i < r.rungs.size(); ++i) {
    const RungFigures& rung = r.rungs[i];
    if (!rung.error.empty()) {
      table.add({rung.name, "failed: " + rung.error});
      continue;
    }
    std::vector<std::string> row{rung.name, seconds_text(rung.seconds), spread_text(rung.seconds), seconds_text(rung.step_seconds)};
    if (video) row.push_back(fixed(median(rung.seconds) / static_cast<double>(r.settings.frames), 3));
    if (several) {
      const RungFigures* before = rung_before(r, i);
      row.push_back(times(ratio(r.rungs[0].seconds, rung.seconds)));
      row.push_back(before ? times(ratio(before->seconds, rung.seconds)) : "-");
    }
    row.push_back(seconds_text(rung.cold_seconds));
    row.push_back(bytes_text(static_cast<double>(rung.peak_resident_bytes)));
    table.add(std::move(row));
  }
  return table.text();
}

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2e", value);
  return text;
}

std::string quality_table(const Report& r) {
  if (std::ranges::all_of(r.rungs, [](const RungFigures& rung) { return rung.quality.empty(); })) return "";
  const bool several = std::ranges::any_of(r.rungs, [](const RungFigures& rung) { return rung.quality.size() > 1; });
  Table table(several ? std::vector<std::string>{"against the first rung", "PSNR", "worst", "SSIM", "worst", "MDSI", "worst", "1 - latent cosine",
                                                 "latent relative RMS"}
                      : std::vector<std::string>{"against the first rung", "PSNR", "SSIM", "MDSI", "1 - latent cosine", "latent relative RMS"});
  for (const RungFigures& rung : r.rungs) {
    if (rung.quality.empty()) continue;
    const Quality middle = median_quality(rung), worst = worst_quality(rung);
    std::vector<std::string> row{rung.name, psnr_text(middle.psnr), fixed(middle.ssim, 5), fixed(middle.mdsi, 4)};
    if (several) row = {rung.name, row[1], psnr_text(worst.psnr), row[2], fixed(worst.ssim, 5), row[3], fixed(worst.mdsi, 4)};
    row.push_back(scientific(1 - middle.latent_cosine[0]));
    row.push_back(scientific(middle.latent_rms[0]));
    table.add(std::move(row));
  }
  return "\n" + table.text();
}

std::vector<std::string> differences(const Report& a, const Report& b) {
  std::vector<std::string> notes;
  const auto differ = [&](const char* what, const auto& x, const auto& y) {
    if (x != y) notes.push_back(cat("note: ", what, " differs: ", x, " and ", y));
  };
  differ("the CPU", a.machine.cpu, b.machine.cpu);
  differ("the instruction set", a.machine.isa, b.machine.isa);
  differ("the number of threads", a.machine.threads, b.machine.threads);
  differ("the device", a.settings.device, b.settings.device);
  differ("the model", a.settings.model, b.settings.model);
  differ("the height", a.settings.height, b.settings.height);
  differ("the width", a.settings.width, b.settings.width);
  differ("the number of frames", a.settings.frames, b.settings.frames);
  differ("the number of steps", a.settings.steps, b.settings.steps);
  differ("the guidance scale", a.settings.guidance_scale, b.settings.guidance_scale);
  differ("the scheduler", a.settings.scheduler, b.settings.scheduler);
  differ("the seed", a.settings.seed, b.settings.seed);
  if (a.settings.prompts != b.settings.prompts) notes.push_back("note: the prompts differ");
  return notes;
}

// Figures of all pictures, by `pick`, of which the median or the worst is wanted.
Quality summary(const RungFigures& rung, const std::function<double(std::vector<double>, bool more_is_better)>& pick) {
  const auto all = [&](const auto& of, bool more_is_better) {
    std::vector<double> values;
    values.reserve(rung.quality.size());
    for (const Quality& q : rung.quality) values.push_back(of(q));
    return pick(values, more_is_better);
  };
  return {.psnr = all([](const Quality& q) { return q.psnr; }, true),
          .ssim = all([](const Quality& q) { return q.ssim; }, true),
          .mdsi = all([](const Quality& q) { return q.mdsi; }, false),
          .latent_cosine = {all([](const Quality& q) { return q.latent_cosine.back(); }, true)},
          .latent_rms = {all([](const Quality& q) { return q.latent_rms.back(); }, false)}};
}

}  // namespace

std::string device_text(const BenchSettings& settings) { return settings.device == "cpu" ? "" : ", " + settings.device; }

std::string spread_text(const std::vector<double>& values) { return values.size() > 1 ? fixed(100 * spread(values), 1) : "-"; }

std::string psnr_text(double psnr) { return std::isinf(psnr) ? "equal" : fixed(psnr, 2) + " dB"; }

Quality worst_quality(const RungFigures& rung) {
  return summary(rung, [](const std::vector<double>& values, bool more_is_better) {
    return more_is_better ? *std::ranges::min_element(values) : *std::ranges::max_element(values);
  });
}

Quality median_quality(const RungFigures& rung) {
  return summary(rung, [](const std::vector<double>& values, bool) { return median(values); });
}

std::string report_text(const Report& report) { return header(report) + speed_table(report) + doubts(report) + quality_table(report); }

std::string comparison_text(const Report& a, const Report& b) {
  Table table({"rung", cat("A: s a ", drawn(a.settings)), cat("B: s a ", drawn(b.settings)), "A / B", "A: s a step", "B: s a step", "A / B",
               "peak memory A", "B"});
  int rows = 0;
  for (const RungFigures& x : a.rungs)
    for (const RungFigures& y : b.rungs) {
      if (x.name != y.name || !x.error.empty() || !y.error.empty()) continue;
      ++rows;
      table.add({x.name, seconds_text(x.seconds), seconds_text(y.seconds), times(ratio(x.seconds, y.seconds)), seconds_text(x.step_seconds),
                 seconds_text(y.step_seconds), times(ratio(x.step_seconds, y.step_seconds)), bytes_text(static_cast<double>(x.peak_resident_bytes)),
                 bytes_text(static_cast<double>(y.peak_resident_bytes))});
    }
  if (rows == 0) throw UserError("the two reports have no rung of the same name with figures");
  std::string text = cat("A: ", a.program, ' ', a.version, ", ", a.date, "\nB: ", b.program, ' ', b.version, ", ", b.date, "\n\n", table.text());
  for (const std::string& note : differences(a, b)) text += note + '\n';
  return text;
}

}  // namespace vivace::cli
