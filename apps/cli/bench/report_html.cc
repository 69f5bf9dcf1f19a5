#include "bench/report_html.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "bench/report_svg.h"
#include "bench/report_text.h"
#include "output.h"
#include "vivace/image.h"

namespace vivace::cli {
namespace {

constexpr int kColors = 8;
constexpr float kAmplify = 16;  // of difference pictures

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --page:#fbfbfa; --card:#fff; --ink:#1b1b1a; --soft:#63625e; --rule:#e2e1dc; --bar:#2a78d6;
  --c0:#2a78d6; --c1:#1baf7a; --c2:#eda100; --c3:#e34948; --c4:#4a3aa7; --c5:#008300; --c6:#e87ba4; --c7:#eb6834; }
@media (prefers-color-scheme: dark) { :root { --page:#141413; --card:#1d1d1b; --ink:#f3f2ee; --soft:#a5a39b; --rule:#363530; --bar:#3987e5;
  --c0:#3987e5; --c1:#199e70; --c2:#c98500; --c3:#e66767; --c4:#9085e9; --c5:#008300; --c6:#d55181; --c7:#d95926; } }
* { box-sizing: border-box; }
body { margin:0 auto; max-width:1080px; padding:20px 16px 48px; background:var(--page); color:var(--ink); font:15px/1.5 system-ui,sans-serif; }
h1 { font-size:26px; line-height:1.2; margin:8px 0 4px; } h2 { font-size:17px; margin:0 0 10px; } h3 { font-size:15px; font-weight:600; margin:14px 0 8px; }
p { margin:4px 0; } .soft { color:var(--soft); font-size:13.5px; overflow-wrap:anywhere; }
section { background:var(--card); border:1px solid var(--rule); border-radius:10px; padding:16px; margin-top:16px; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; background:none; border:0; padding:0; }
.tile { background:var(--card); border:1px solid var(--rule); border-radius:10px; padding:12px 16px; }
.tile b { display:block; font-size:26px; line-height:1.25; font-weight:650; }
.pair { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr)); gap:16px; } .pair section { min-width:0; }
svg { display:block; width:100%; height:auto; max-width:560px; }
svg text { font:12px system-ui,sans-serif; fill:var(--ink); } svg .tick { font-size:11px; fill:var(--soft); } svg .value { font-weight:600; }
svg .bar { fill:var(--bar); } svg .whisker { stroke:var(--ink); stroke-width:1.2; } svg .grid { stroke:var(--rule); }
svg .line { fill:none; stroke:var(--c); stroke-width:2; stroke-linejoin:round; } svg .dot { fill:var(--c); }
.legend { display:flex; flex-wrap:wrap; gap:4px 16px; font-size:13.5px; margin-top:10px; }
.legend i { display:inline-block; width:14px; height:3px; border-radius:2px; margin-right:6px; vertical-align:middle; background:var(--c); }
.scroll { overflow-x:auto; } table { border-collapse:collapse; font-size:13.5px; white-space:nowrap; }
th,td { padding:5px 12px 5px 0; text-align:right; border-bottom:1px solid var(--rule); font-variant-numeric:tabular-nums; }
th:first-child,td:first-child { text-align:left; } th { color:var(--soft); font-weight:500; } td.text { text-align:left; white-space:normal; }
.pictures { display:grid; grid-template-columns:repeat(auto-fill,minmax(150px,1fr)); gap:14px; }
figure { margin:0; font-size:13.5px; } figure img { display:block; width:100%; border-radius:6px; border:1px solid var(--rule); margin-bottom:6px; image-rendering:auto; }
code { font:12.5px ui-monospace,monospace; }
)";

bool has_figures(const RungFigures& rung) { return rung.error.empty() && !rung.seconds.empty(); }

std::string html_seconds(double s) { return s < 0.1 ? fixed(s * 1e3, 1) + " ms" : s < 10 ? fixed(s, 2) + " s" : fixed(s, 1) + " s"; }

std::string tile(const std::string& value, const std::string& what) {
  return cat("<div class=\"tile\"><b>", escape_html(value), "</b><span class=\"soft\">", escape_html(what), "</span></div>\n");
}

const RungFigures& fastest(const Report& r) {
  return *std::ranges::min_element(r.rungs, {}, [](const RungFigures& rung) { return has_figures(rung) ? median(rung.seconds) : HUGE_VAL; });
}

std::string tiles(const Report& r) {
  const RungFigures& best = fastest(r);
  std::string out = "<section class=\"tiles\">\n" + tile(html_seconds(median(best.seconds)), cat("a ", drawn(r.settings), ", ", best.name));
  if (&best != &r.rungs[0]) out += tile(fixed(ratio(r.rungs[0].seconds, best.seconds), 2) + "x", "faster than " + r.rungs[0].name);
  if (!best.quality.empty()) out += tile(psnr_text(median_quality(best).psnr), cat("PSNR of its ", drawn(r.settings)));
  return out + tile(bytes_text(static_cast<double>(best.peak_resident_bytes)), "peak memory") + "</section>\n";
}

std::string seconds_plot(const Report& r) {
  std::vector<Bar> bars;
  for (const RungFigures& rung : r.rungs) {
    if (!has_figures(rung)) continue;
    const double s = median(rung.seconds), factor = ratio(r.rungs[0].seconds, rung.seconds);
    bars.push_back({rung.name, html_seconds(s) + (r.rungs.size() > 1 ? cat(" · ", fixed(factor, 2), "x") : ""), s,
                    *std::ranges::min_element(rung.seconds), *std::ranges::max_element(rung.seconds)});
  }
  return cat("<section><h2>Seconds a ", drawn(r.settings), "</h2>\n") + bar_chart(bars, cat("Seconds a ", drawn(r.settings), " by rung")) +
         "<p class=\"soft\">Bars: medians; whiskers: fastest and slowest run.</p></section>\n";
}

std::string drift_plot(const Report& r) {
  std::vector<Line> lines;
  std::string legend;
  for (size_t i = 0; i < r.rungs.size(); ++i) {
    if (r.rungs[i].quality.empty()) continue;
    const int color = static_cast<int>(lines.size()) % kColors;
    lines.push_back({r.rungs[i].name, color, r.rungs[i].quality[0].latent_rms});
    legend += cat("<span><i style=\"--c:var(--c", color, ")\"></i>", escape_html(r.rungs[i].name), "</span>\n");
  }
  if (lines.empty()) return "";
  return "<section><h2>Drift of the latent, step by step</h2>\n" + log_line_chart(lines, "Relative RMS of the latent after each step", "step") +
         "<div class=\"legend\">" + legend +
         "</div><p class=\"soft\">Root mean square of the difference to the first rung's latent over its own, first prompt.</p></section>\n";
}

std::string row(const std::vector<std::string>& cells, const char* tag) {
  std::string out = "<tr>";
  for (const std::string& cell : cells) out += cat("<", tag, ">", escape_html(cell), "</", tag, ">");
  return out + "</tr>\n";
}

std::string figures_table(const Report& r) {
  std::string out = "<section><h2>All figures</h2><div class=\"scroll\"><table>\n" +
                    row({"rung", cat("s a ", drawn(r.settings)), "spread", "s a step", "ratio", "cold start", "peak memory", "PSNR", "worst", "SSIM",
                         "worst", "MDSI", "worst"},
                        "th");
  for (const RungFigures& rung : r.rungs) {
    if (!has_figures(rung)) {
      out += cat("<tr><td>", escape_html(rung.name), "</td><td class=\"text\" colspan=\"12\">", escape_html("failed: " + rung.error), "</td></tr>\n");
      continue;
    }
    std::vector<std::string> cells{rung.name,
                                   html_seconds(median(rung.seconds)),
                                   spread_text(rung.seconds) + (rung.seconds.size() > 1 ? " %" : ""),
                                   html_seconds(median(rung.step_seconds)),
                                   fixed(ratio(r.rungs[0].seconds, rung.seconds), 2) + "x",
                                   html_seconds(median(rung.cold_seconds)),
                                   bytes_text(static_cast<double>(rung.peak_resident_bytes))};
    if (rung.quality.empty()) {
      cells.resize(13);
    } else {
      const Quality middle = median_quality(rung), worst = worst_quality(rung);
      for (const std::string& cell :
           {psnr_text(middle.psnr), psnr_text(worst.psnr), fixed(middle.ssim, 5), fixed(worst.ssim, 5), fixed(middle.mdsi, 4), fixed(worst.mdsi, 4)})
        cells.push_back(cell);
    }
    out += row(cells, "td");
  }
  return out +
         "</table></div><p class=\"soft\">PSNR and SSIM: more is nearer to the first rung's picture. MDSI, a perceptual distance: less is nearer; "
         "below 0.2 a difference is hard "
         "to see.</p></section>\n";
}

std::string image_tag(const std::string& png, const std::string& alt) {
  return cat("<img alt=\"", escape_html(alt), "\" src=\"data:image/png;base64,", base64(png), "\">");
}

Image decode(const std::string& png) { return Image::decode(std::as_bytes(std::span(png.data(), png.size())), "a report's picture"); }

// |a - b|, amplified.
std::string difference_png(const Image& a, const Image& b) {
  Tensor values = a.tensor().clone();
  for (size_t i = 0; i < values.floats().size(); ++i)
    values.floats()[i] = std::min(1.f, kAmplify * std::fabs(values.floats()[i] - b.tensor().floats()[i]));
  const std::vector<uint8_t> png = Image::from_tensor(values).png();
  return {png.begin(), png.end()};
}

// `frames`: of a video, whose first one the picture is, and which has as many entries of quality.
std::string picture_figure(const RungFigures& rung, size_t prompt, const RungFigures& reference, int64_t frames) {
  const std::string& png = rung.pictures[prompt];
  std::string out = cat("<figure>", image_tag(png, rung.name));
  if (!rung.quality.empty()) {
    const Image a = decode(reference.pictures[prompt]), b = decode(png);
    if (a.height() == b.height() && a.width() == b.width()) out += image_tag(difference_png(a, b), "difference");
  }
  out += cat("<figcaption>", escape_html(rung.name));
  if (!rung.quality.empty()) {
    const Quality& q = rung.quality[prompt * static_cast<size_t>(std::max<int64_t>(frames, 1))];
    out += cat("<br><span class=\"soft\">", psnr_text(q.psnr), ", SSIM ", fixed(q.ssim, 4), ", MDSI ", fixed(q.mdsi, 3), "</span>");
  }
  return out + "</figcaption></figure>\n";
}

std::string pictures(const Report& r) {
  std::string out;
  for (size_t prompt = 0; prompt < r.rungs[0].pictures.size(); ++prompt) {
    out += cat("<h3>", escape_html(r.settings.prompts[prompt]), "</h3>\n<div class=\"pictures\">\n");
    for (const RungFigures& rung : r.rungs)
      if (prompt < rung.pictures.size()) out += picture_figure(rung, prompt, r.rungs[0], r.settings.frames);
    out += "</div>\n";
  }
  return cat("<section><h2>Pictures, and what differs from the first rung's (", kAmplify, " times as strong)</h2>\n", out, "</section>\n");
}

std::string how(const Report& r) {
  std::string out = "<section><h2>What makes each rung</h2><div class=\"scroll\"><table>\n";
  for (const RungFigures& rung : r.rungs) {
    std::string arguments;
    for (const std::string& argument : rung.arguments) arguments += (arguments.empty() ? "" : " ") + argument;
    out += cat("<tr><td>", escape_html(rung.name), "</td><td class=\"text\"><code>", escape_html(arguments.empty() ? "(nothing)" : arguments),
               "</code></td></tr>\n");
  }
  return out + "</table></div></section>\n";
}

std::string heading(const Report& r) {
  const BenchSettings& s = r.settings;
  return cat("<h1>", r.rungs.size() > 2 ? "The ladder" : "Benchmark", "</h1>\n<p class=\"soft\">",
             escape_html(cat(r.program, ' ', r.version, ", ", r.date)), "<br>",
             escape_html(cat(r.machine.cpu, ", ", r.machine.isa, ", ", r.machine.threads, " threads, ",
                             bytes_text(static_cast<double>(r.machine.memory_bytes)), device_text(s))),
             "<br>",
             escape_html(cat(s.model, ", ", s.height, "x", s.width, ", ", s.frames ? cat(s.frames, " frames, ") : "", s.steps, " steps, guidance ",
                             s.guidance_scale, ", ", s.scheduler, ", seed ", s.seed, ", ", s.runs, s.runs == 1 ? " run" : " interleaved runs")),
             "</p>\n");
}

}  // namespace

std::string report_html(const Report& r) {
  return cat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<title>",
      escape_html(r.program), " bench</title>\n<style>", kStyle, "</style></head>\n<body>\n", heading(r), tiles(r), "<div class=\"pair\">\n",
      seconds_plot(r), drift_plot(r), "</div>\n", pictures(r), figures_table(r), how(r), "</body></html>\n");
}

}  // namespace vivace::cli
